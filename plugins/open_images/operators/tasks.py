"""The tasks of the training DAG, made from the table of stages."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from airflow.sdk import Context, TaskGroup

from ml.config.deployment import Deployment
from ml.flow.stage import Engine, Stage
from ml.flow.table import STAGES, arrows
from open_images.errors import skip
from open_images.operators.process import ProcessStageOperator
from open_images.operators.spark import SparkStageOperator
from open_images.operators.stage import StageOperator

OPERATORS: dict[Engine, type[StageOperator]] = {"spark": SparkStageOperator, "process": ProcessStageOperator}
GROUPS: dict[Engine, dict[str, str]] = {
    "spark": {"group_id": "data", "tooltip": "Turns the release's files into features, on Spark"},
    "process": {"group_id": "model", "tooltip": "Shows the data, trains a network and writes reports, with TensorFlow"},
}


def stage_tasks(
    run: str, deployment: Deployment, extras: Mapping[str, Mapping[str, Any]], names: Collection[str] = tuple(STAGES)
) -> dict[str, StageOperator]:
    """Make a task for each stage of the training flow, in one group per engine, with the dependencies between them.

    Only one task instance of a stage runs at a time, across all runs. A backfill therefore does not overload the
    machine, and if two runs need the same result, the first makes it and the second reuses it.

    Args:
        run: URI of the run folder, as a template.
        deployment: The deployment's settings.
        extras: Additional arguments of the operators, by stage.
        names: The stages; by default all of them.
    """
    groups = {engine: TaskGroup(**arguments) for engine, arguments in GROUPS.items()}
    tasks = {}
    for name, stage in ((name, STAGES[name]) for name in names):
        arguments = {"pre_execute": skip_without(stage.only_with)} if stage.only_with else {}
        arguments |= pod_arguments(name, deployment)
        tasks[name] = OPERATORS[stage.engine](
            task_id=name,
            stage=name,
            run=run,
            deployment=deployment,
            task_group=groups[stage.engine],
            max_active_tis_per_dag=1,
            **{**arguments, **extras.get(name, {})},
        )
    for before, after in arrows():
        if before in tasks and after in tasks:
            tasks[before] >> tasks[after]
    return tasks


def pod_arguments(stage: str, deployment: Deployment) -> dict[str, Any]:
    """Return the operator's arguments for the pod of a stage, which only the KubernetesExecutor reads."""
    template = deployment.pod_templates.get(stage)
    return {"executor_config": {"pod_template_file": template}} if template else {}


def skip_without(field: str) -> Any:
    """Return a function that skips a task before it starts a job if a parameter of the run is empty."""

    def check(context: Context) -> None:
        if not context["params"][field]:
            raise skip(f"The parameter `{field}` is empty.")

    return check


def describe_stages() -> str:
    """Return a row of a Markdown table for each stage: its task, its output, and what it pushes."""
    return "\n".join(map(_row, STAGES.values()))


def _row(stage: Stage) -> str:
    return f"| `{GROUPS[stage.engine]['group_id']}.{stage.name}` | {stage.leaves} | {stage.pushes} |"
