"""The command line: `python -m ml --help`."""

from __future__ import annotations

import importlib
import os
import sys
import uuid
from pathlib import Path
from typing import Annotated

import typer

from ml.config.clean_up import CleanUpConfig
from ml.config.forms import with_options
from ml.config.prediction import PredictionConfig
from ml.config.promotion import PromotionConfig
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError, StageError
from ml.flow.stage import Stage
from ml.flow.table import STAGES
from ml.logs import log_to_stderr

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

RunUri = Annotated[str, typer.Option("--run", help="The run folder, as open-run prints it.")]
Attempt = Annotated[str | None, typer.Option(help="Name of the attempt; by default a new one.", hidden=True)]


@app.command("sample-release")
def sample_release(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write; must not exist or be empty.")],
    scenes: Annotated[int, typer.Option(help="Scenes to draw.", min=10)] = 240,
    seed: Annotated[int, typer.Option(help="Seed of the drawing.", min=0)] = 0,
) -> None:
    """Write a small release in the official layout, with drawn cartoon portraits."""
    from ml.sample.release import write_sample_release

    typer.echo(write_sample_release(directory, scenes, seed))


@app.command("seal-delivery")
def seal_delivery(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Folder <YYYY-MM-DD> of a landing, or its URI.")],
) -> None:
    """Count what a delivery holds and write its delivery.json, after which it is there."""
    from ml.release.note import seal

    note = seal(directory)
    typer.echo(f"{note.date}: {sum(note.rows.values()):,} rows, {note.photographs:,} photographs")


@app.command("open-run")
@with_options(TrainingConfig)
def open_run(
    values: dict[str, object],
    storage: Annotated[str | None, typer.Option(help="Storage root; by default the deployment's.")] = None,
    run_id: Annotated[str | None, typer.Option(help="Name of the run; by default a new one.")] = None,
) -> None:
    """Validate parameters and release, write a run folder and print its URI."""
    from ml.config.deployment import load_deployment
    from ml.workflow import opening

    deployment, name = load_deployment(), run_id or f"shell-{uuid.uuid4().hex[:8]}"
    run = opening.open_run(storage or deployment.storage, name, values, defaults=deployment.defaults)
    typer.echo(run.uri)


def _run_stage(run: str, stage: Stage, attempt: str | None = None) -> None:
    from ml.workflow.execution import Context, Result, run_stage
    from ml.workflow.run import load_run

    def body(context: Context) -> Result:  # imports TensorFlow, so only when there is work to do
        module, _, name = stage.body.partition(":")
        result: Result = getattr(importlib.import_module(module), name)(context)
        return result

    typer.echo(run_stage(load_run(run), stage, body, attempt).uri)


def _add_command(stage: Stage) -> None:
    @app.command(stage.name, help=stage.purpose)
    def command(run: RunUri, attempt: Attempt = None) -> None:
        _run_stage(run, stage, attempt)


for _stage in STAGES.values():
    if _stage.engine == "process":
        _add_command(_stage)


@app.command()
def predict(
    photos: Annotated[
        list[Path],
        typer.Argument(metavar="PHOTO_OR_FOLDER...", help="Photographs, JPEG or PNG, and folders of them."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the annotated photographs, predictions.csv and .json.")],
    model: Annotated[
        str | None, typer.Option(help="Attempt folder of stage train; by default the champion's, else the newest.")
    ] = None,
    storage: Annotated[str | None, typer.Option(help="Storage root; by default the deployment's.")] = None,
    min_confidence: Annotated[
        float | None,
        typer.Option(help="Less sure than this, the answer is 'unknown'; by default the deployment's.", min=0.5, max=1),
    ] = None,
) -> None:
    """Find faces, tell the gender presentation that annotators would perceive, and draw both on the photographs."""
    from ml.config.deployment import load_deployment
    from ml.prediction.photos import predict_photos

    deployment = load_deployment()
    least = deployment.prediction.min_confidence if min_confidence is None else min_confidence
    predict_photos(photos, out, model, storage or deployment.storage, least, deployment.defaults)


@app.command("open-prediction")
@with_options(PredictionConfig)
def open_prediction(
    values: dict[str, object],
    storage: Annotated[str | None, typer.Option(help="Storage root; by default the deployment's.")] = None,
    run_id: Annotated[str | None, typer.Option(help="Name of the run; by default a new one.")] = None,
) -> None:
    """List photographs for the Spark job `predict`, write a run folder and print its URI."""
    from ml.config.deployment import load_deployment
    from ml.prediction import run as prediction_run

    deployment, name = load_deployment(), run_id or f"shell-{uuid.uuid4().hex[:8]}"
    run = prediction_run.open_prediction(storage or deployment.storage, name, values, deployment)
    typer.echo(run.uri)


@app.command()
@with_options(PromotionConfig, leave_out=("include_backfills", "mode", "approval_hours", "move_back"))
def promote(
    values: dict[str, object],
    storage: Annotated[str | None, typer.Option(help="Storage root; by default the deployment's.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Make it champion where the gate passes it.")] = False,
) -> None:
    """Judge a candidate beside the champion, print the verdict, and with --yes make it champion."""
    from ml.config.deployment import load_deployment
    from ml.promotion import run as promotion_run
    from ml.workflow import layout

    deployment, name = load_deployment(), f"shell-{uuid.uuid4().hex[:8]}"
    try:
        promotion = promotion_run.open_promotion(storage or deployment.storage, name, values, deployment)
    except promotion_run.NothingToDecideError as nothing:
        typer.echo(nothing)
        return
    if promotion.compares:
        _run_stage(promotion.run, STAGES["compare"])
    verdict = promotion_run.gate(promotion.run)
    typer.echo(verdict.markdown())
    if not verdict.passed:
        raise ConfigurationError(
            f"The gate refuses {promotion.candidate.title}: {verdict.reasons}",
            f"The verdict lies in {layout.verdict_uri(promotion.run)}; its margins are options of this command.",
        )
    if yes:
        typer.echo(f"{promotion_run.promote(promotion.run, 'at the command line').title} is champion.")
    else:
        typer.echo("The gate passes it. Nothing was moved: --yes makes it champion.")


@app.command("move-back")
def move_back(
    storage: Annotated[str | None, typer.Option(help="Storage root; by default the deployment's.")] = None,
) -> None:
    """Make the champion before the present one champion again."""
    from ml.config.deployment import load_deployment
    from ml.promotion import run as promotion_run
    from ml.workflow.attempt import new_attempt

    deployment = load_deployment()
    root, run_id = storage or deployment.storage, f"shell-{new_attempt()}"
    now, before = promotion_run.move_back(root, deployment.defaults, "at the command line", run_id)
    typer.echo(f"{now.title} is champion again, no longer version {before.number}.")


@app.command("clean-up")
@with_options(CleanUpConfig)
def clean_up(
    values: dict[str, object],
    storage: Annotated[str | None, typer.Option(help="Storage root; by default the deployment's.")] = None,
) -> None:
    """List what may go from the storage root and why; with --remove, remove it.

    A shell does not know which runs Airflow has under way: beside an Airflow use its DAG open_images_maintenance.
    """
    from ml.config.deployment import load_deployment
    from ml.retention.items import told
    from ml.retention.plan import plan
    from ml.retention.remove import remove

    deployment = load_deployment()
    made = plan(storage or deployment.storage, values, deployment)
    typer.echo(f"May go: {told(made.items)}. The list: {made.uri}")
    if made.config.remove:
        outcome = remove(made, deployment)
        typer.echo(f"Removed: {told(outcome.removed)}.")
        if outcome.stayed:
            typer.echo(f"Stayed after all: {told(outcome.stayed)}.")


@app.command()
def doctor(
    full: Annotated[bool, typer.Option("--full", help="Import TensorFlow and the face detector too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Look at all that the workflow needs of this machine and say what to do; exit 1 where a run cannot succeed."""
    from ml.doctor.examine import examine
    from ml.doctor.show import show

    findings = examine(full)
    show(findings, as_json)
    if any(finding.state == "fault" for finding in findings):
        raise typer.Exit(1)


def main() -> None:
    """Run a command; a failure that is understood is one line, not a traceback."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # its notes about processors and drivers hide our own lines
    log_to_stderr()
    try:
        app()
    except StageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
