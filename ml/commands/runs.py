"""The commands `run`, `runs` and `report`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from ml.commands.options import RUN_HELP, JsonOption, RunIdOption, StorageOption, new_run_id
from ml.flow.table import STAGES

if TYPE_CHECKING:
    from ml.config.deployment import Deployment
    from ml.public.run import Run as PublicRun
    from ml.workflow.run import Run as TrainingRun


def run(
    values: dict[str, object],
    storage: StorageOption = None,
    run_id: RunIdOption = None,
    cores: Annotated[
        int | None, typer.Option(metavar="<integer>", help="Cores for Spark; by default all.", min=1)
    ] = None,
) -> None:
    """Train and evaluate: open a run, do all of its stages in order on this machine, and show the result.

    Work that an earlier run has done is found again. If a run was interrupted, give its --run-id to continue its
    training from the last checkpoint. On a cluster, Airflow does the stages.
    """
    from rich.console import Console

    from ml.commands.stages import do_stages, local_master
    from ml.commands.summary import print_run
    from ml.config.deployment import load_deployment
    from ml.environment import check_environment
    from ml.public.run import Run

    check_environment()
    deployment, console = load_deployment(), Console()
    opened = open_training(values, deployment, storage, run_id)
    console.print(f"Run {opened.run_id}: {opened.uri}", soft_wrap=True, highlight=False)
    do_stages(opened, deployment, local_master(cores), console)
    print_run(Run(opened.uri), console)


def open_training(
    values: dict[str, object], deployment: Deployment, storage: str | None, run_id: str | None
) -> TrainingRun:
    """Validate parameters given in a shell, and write the folder of a training run.

    Args:
        values: Parameters that override the deployment's defaults.
        deployment: The deployment's settings.
        storage: Storage root; None: the deployment's.
        run_id: Name of the run; None: a new one.

    Raises:
        ConfigurationError: A parameter is wrong, or there is no such baseline.
        DataError: The release is missing or malformed.
    """
    from ml.promotion.reference import find_reference
    from ml.tracking.models import find_baseline
    from ml.workflow.opening import open_run

    return open_run(
        storage or deployment.storage,
        run_id or new_run_id(),
        values,
        defaults=deployment.defaults,
        find_reference=find_reference,
        find_baseline=find_baseline,
    )


def runs(
    storage: StorageOption = None,
    flow: Annotated[
        str | None, typer.Option(metavar="training|prediction|promotion|comparison", help="Only runs of this flow.")
    ] = None,
    limit: Annotated[int, typer.Option(metavar="<integer>", help="Runs to show at most.", min=1)] = 20,
    as_json: JsonOption = False,
) -> None:
    """List the runs, the one that changed last first, with what they have done."""
    from ml.public.storage import open_storage

    found = open_storage(storage).runs(flow)
    if as_json:
        typer.echo(json.dumps([_as_json(each) for each in found[:limit]], indent=2))
        return
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(Column("run", overflow="fold"), "flow", "as of", "done", "accuracy")
    for each in found[:limit]:
        accuracy = _accuracy(each)
        shown = "" if accuracy is None else f"{accuracy:.3f}"
        table.add_row(each.id, each.flow, (each.as_of or "")[:10], _done(each), shown)
    Console().print(table)
    if len(found) > limit:
        typer.echo(f"{len(found) - limit} older runs are not shown; --limit shows more.")


def report(
    name: Annotated[str, typer.Argument(metavar="RUN", help=RUN_HELP)],
    storage: StorageOption = None,
) -> None:
    """Show the main numbers of a run, and where its report and other pages are."""
    from rich.console import Console

    from ml.commands.summary import print_run
    from ml.public.storage import open_storage

    print_run(open_storage(storage).run(name), Console())


def _accuracy(run: PublicRun) -> float | None:
    return run.summary.accuracy.value if run.flow == "training" and "evaluate" in run.stages else None


def _done(run: PublicRun) -> str:
    if run.flow in ("promotion", "comparison"):  # their other stages are those of the runs that they judge
        return run.decision or ("compare" if "compare" in run.stages else "")
    needed = {name for name, stage in STAGES.items() if not stage.only_with}
    return "all" if run.flow == "training" and needed <= set(run.stages) else ", ".join(run.stages)


def _as_json(run: PublicRun) -> dict[str, object]:
    return {
        "id": run.id,
        "uri": run.uri,
        "flow": run.flow,
        "as_of": run.as_of,
        "stages": run.stages,
        "decision": run.decision,
        "accuracy": _accuracy(run),
        "parameters": run.parameters,
    }
