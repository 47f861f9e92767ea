"""The sweep flow: train with several settings and seeds on the same data, and evaluate the best training."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Param, task

from ml.config.deployment import Deployment, load_deployment
from ml.config.sweep import SweepConfig
from open_images.assets import CANDIDATE
from open_images.defaults import dag_defaults, form
from open_images.errors import airflow_errors
from open_images.operators.process import ProcessStageOperator
from open_images.operators.tasks import pod_arguments, stage_tasks

if TYPE_CHECKING:
    from airflow.sdk.types import DagRunProtocol

DOC = """
### Several settings and seeds, and the best of them

Trains every combination of the values in *Grid*, each with several seeds. The data are prepared once; the trainings run
as mapped tasks, a few at a time (`sweep_trainings` in the deployment file). **Trigger** opens a form with the grid, the
seeds and every parameter of a training.

| task | output | XCom |
|---|---|---|
| `open_sweep` | the run folder of the sweep, with the validated parameters | its URI |
| `data.extract` to `data.featurize` | as in `open_images_training` | as there |
| `open_members` | a run folder for each training | their URIs |
| `train` | a network for each combination and seed | validation metrics, URIs |
| `sweep` | `sweep.html` and `sweep.csv`: mean and spread over seeds by combination | the same, the best training |
| `choose_best` | nothing | URI of the best training's run folder |
| `explore`, `evaluate` | the reports of the data and of the best training | as in `open_images_training` |

The best training is the one with the lowest validation loss of the combination with the lowest mean. Only this one is
evaluated on the test split, and offered to `open_images_promotion` as a candidate. A training that another run or sweep
has done is reused.

The labels are gender presentation **as perceived by annotators in a photograph**, never anyone's identity. Do not use
the model to make decisions about people.
"""
RUN = "{{ ti.xcom_pull(task_ids='open_sweep') }}"
BEST = "{{ ti.xcom_pull(task_ids='choose_best') }}"
SHARED = ("extract", "join_labels", "chip", "featurize")
WITHOUT_MEANING = ("force", "baseline", "retrain_without_news")


def sweep_form(deployment: Deployment) -> dict[str, Param]:
    """Return the trigger form: the sweep's own fields, and those of a training."""
    fields = form(SweepConfig(**deployment.defaults.model_copy(update={"force": None, "baseline": None}).model_dump()))
    own = [name for name in SweepConfig.model_fields if name not in type(deployment.defaults).model_fields]
    left = {name: param for name, param in fields.items() if name not in (*own, *WITHOUT_MEANING)}
    return {**{name: fields[name] for name in own}, **left}


@task(task_display_name="open sweep")
def open_sweep(params: dict[str, Any], run_id: str, dag_run: DagRunProtocol) -> str:
    """Validate the parameters of all trainings, pin the deliveries, and write the folder of the sweep."""
    from ml.promotion.reference import find_reference
    from ml.workflow.sweep import open_sweep as open_

    as_of = None if params["as_of"] else dag_run.run_after
    with airflow_errors():
        now = load_deployment()
        defaults, roots = now.defaults, now.allowed()
        return open_(now.storage, run_id, dict(params), as_of, defaults, find_reference, roots).uri


@task(task_display_name="open members")
def open_members(sweep: str) -> list[str]:
    """Open a run for each training, on the data that the sweep has prepared."""
    from ml.workflow.sweep import open_members as open_

    with airflow_errors():
        return open_(sweep)


@task(task_display_name="choose best")
def choose_best(ti: Any) -> str:
    """Return the run of the best training; this sweep's own, even if stage sweep was found done."""
    members: list[str] = ti.xcom_pull(task_ids="open_members")
    return members[ti.xcom_pull(task_ids="sweep")["best"]["number"]]


deployment = load_deployment()
with DAG(
    "open_images_sweep",
    description="Trains with several settings and seeds on the same data, and evaluates the best training",
    doc_md=DOC,
    schedule=None,
    params=sweep_form(deployment),
    tags=["open-images", "training", "spark", "tensorflow"],
    **dag_defaults(deployment),
) as dag:
    opened = open_sweep()  # Airflow passes params, run_id and dag_run from its context
    shared = stage_tasks(RUN, deployment, extras={}, names=SHARED)
    members = open_members(RUN)
    trained = ProcessStageOperator.partial(
        task_id="train",
        stage="train",
        execution_timeout=datetime.timedelta(hours=deployment.timeout("train")),
        max_active_tis_per_dag=deployment.sweep_trainings,
        **pod_arguments("train", deployment),
    ).expand(run=members)
    compared = ProcessStageOperator(task_id="sweep", stage="sweep", run=RUN, deployment=deployment)
    chosen = choose_best()
    explored = ProcessStageOperator(task_id="explore", stage="explore", run=BEST, deployment=deployment)
    evaluated = ProcessStageOperator(
        task_id="evaluate",
        stage="evaluate",
        run=BEST,
        deployment=deployment,
        # The evaluation's event is the promotion DAG's schedule.
        outlets=[CANDIDATE],
        event_metrics=("faces", "accuracy", "majority"),
    )
    opened >> [each for each in shared.values() if not each.upstream_task_ids]
    shared["featurize"] >> members >> trained >> compared >> chosen >> explored >> evaluated
