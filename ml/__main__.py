"""The command line: `python -m ml --help`."""

from __future__ import annotations

import enum
import importlib
import os
import sys
import uuid
from pathlib import Path
from typing import Annotated

import typer

from ml.config.clean_up import CleanUpConfig
from ml.config.download import DownloadConfig
from ml.config.forms import with_options
from ml.config.prediction import PredictionConfig
from ml.config.promotion import PromotionConfig
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError, StageError
from ml.export.formats import Format
from ml.flow.stage import Stage
from ml.flow.table import STAGES
from ml.logs import log_to_stderr


class PackFormat(enum.StrEnum):
    """The formats of `pack`."""

    parquet = "parquet"
    tar = "tar"


app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

RunUri = Annotated[str, typer.Option("--run", help="The run folder that open-run printed.")]
Attempt = Annotated[str | None, typer.Option(help="Name of the attempt; by default a new one.", hidden=True)]


@app.command("sample-release")
def sample_release(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write; it must be new or empty.")],
    scenes: Annotated[int, typer.Option(help="Number of scenes to draw.", min=10)] = 240,
    seed: Annotated[int, typer.Option(help="Random seed.", min=0)] = 0,
) -> None:
    """Write a small release of drawn cartoon portraits in the official layout."""
    from ml.sample.release import write_sample_release

    typer.echo(write_sample_release(directory, scenes, seed))


@app.command()
@with_options(DownloadConfig)
def download(
    values: dict[str, object],
    storage: Annotated[str | None, typer.Option(help="Storage root; by default the deployment's.")] = None,
) -> None:
    """Download annotations and photographs of Open Images as a delivery of a landing."""
    from ml.config.deployment import load_deployment
    from ml.download.delivery import download as fetch
    from ml.download.delivery import open_target
    from ml.download.estimate import estimate

    deployment = load_deployment()
    target = open_target(storage or deployment.storage, values, deployment)
    typer.echo(estimate(target) if target.config.dry_run else fetch(target))


@app.command("seal-delivery")
def seal_delivery(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Folder <YYYY-MM-DD> of a landing, or its URI.")],
) -> None:
    """Count a delivery's rows and photographs and write its delivery.json, which makes the delivery visible to runs."""
    from ml.config.deployment import load_deployment
    from ml.photographs.source import Columns
    from ml.release.note import seal

    note = seal(directory, Columns.parse(load_deployment().defaults.photograph_columns))
    typer.echo(f"{note.date}: {sum(note.rows.values()):,} rows, {note.photographs:,} photographs")


@app.command()
def pack(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Folder that holds train, validation and test.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="Folder or bucket to write.")],
    form: Annotated[
        PackFormat, typer.Option("--format", help="Parquet files, or tar archives as WebDataset reads them.")
    ] = PackFormat.parquet,
    shard_mb: Annotated[int, typer.Option(help="Size of a file in MB.", min=1)] = 256,
    row_group_mb: Annotated[
        int, typer.Option(help="Size of a Parquet row group in MB; a task holds one in memory.", min=1)
    ] = 16,
) -> None:
    """Pack photographs into a few large files, since many small ones slow HDFS and object stores down."""
    from ml.photographs import pack as packing

    sizes = packing.Sizes(shard=shard_mb << 20, row_group=row_group_mb << 20)
    note = packing.pack(folder, out, form.value, sizes)
    size = f"{note.bytes / 1e6:,.1f} MB"
    typer.echo(f"{note.photographs:,} photographs, {size}, in {note.shards} files; {note.absent} were gone")


@app.command("open-run")
@with_options(TrainingConfig)
def open_run(
    values: dict[str, object],
    storage: Annotated[str | None, typer.Option(help="Storage root; by default the deployment's.")] = None,
    run_id: Annotated[str | None, typer.Option(help="Name of the run; by default a new one.")] = None,
) -> None:
    """Validate the parameters and the release, write a run folder and print its URI."""
    from ml.config.deployment import load_deployment
    from ml.promotion.reference import find_reference
    from ml.workflow import opening

    deployment, name = load_deployment(), run_id or f"shell-{uuid.uuid4().hex[:8]}"
    run = opening.open_run(
        storage or deployment.storage, name, values, defaults=deployment.defaults, find_reference=find_reference
    )
    typer.echo(run.uri)


def _run_stage(run: str, stage: Stage, attempt: str | None = None) -> None:
    from ml.workflow.execution import Context, Result, run_stage
    from ml.workflow.run import load_run

    def body(context: Context) -> Result:  # imports TensorFlow only if there is work to do
        module, _, name = stage.body.partition(":")
        result: Result = getattr(importlib.import_module(module), name)(context)
        return result

    typer.echo(run_stage(load_run(run), stage, body, attempt).uri)


def _add_command(stage: Stage) -> None:
    @app.command(stage.name, help=stage.purpose)
    def command(run: RunUri, attempt: Attempt = None) -> None:
        _run_stage(run, stage, attempt)


for _stage in STAGES.values():
    if _stage.body:
        _add_command(_stage)


@app.command()
def predict(
    photos: Annotated[
        list[Path],
        typer.Argument(metavar="PHOTO_OR_FOLDER...", help="JPEG or PNG photographs, or folders of them."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the annotated photographs, predictions.csv and .json.")],
    model: Annotated[
        str | None, typer.Option(help="Attempt folder of stage train; by default the champion, else the newest model.")
    ] = None,
    storage: Annotated[str | None, typer.Option(help="Storage root; by default the deployment's.")] = None,
    min_confidence: Annotated[
        float | None,
        typer.Option(
            help="Predict 'unknown' below this probability; by default the deployment's setting.", min=0.5, max=1
        ),
    ] = None,
) -> None:
    """Find faces, predict the gender presentation that annotators would perceive, and draw both on the photographs."""
    from ml.config.deployment import load_deployment
    from ml.prediction.photos import predict_photos

    deployment = load_deployment()
    confidence = deployment.prediction.min_confidence if min_confidence is None else min_confidence
    predict_photos(photos, out, model, storage or deployment.storage, confidence, deployment.defaults)


@app.command()
def export(
    run: RunUri,
    out: Annotated[str, typer.Option(metavar="DIR", help="Local folder to write; it must be new or empty.")],
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            help="coco: boxes with labels, as JSON. image-folder: chips as files in folders by label. hugging-face: "
            "chips in Parquet files.",
        ),
    ],
) -> None:
    """Write the labeled faces of a run for other programs, with the license and author of each photograph."""
    from ml.export.run import export_run

    record = export_run(run, out, form)
    for part, faces in record.faces.items():
        if any(faces.values()):
            typer.echo(f"{part}: {', '.join(f'{count:,} {label}' for label, count in faces.items())}")
    left_out = ", ".join(f"{count:,} {name}" for counts in record.left_out.values() for name, count in counts.items())
    typer.echo(f"left out: {left_out or 'nothing'}")
    typer.echo(f"photographs: {record.photographs:,}, of which {record.without_author:,} name no author")
    typer.echo(f"{out}: README.md, croissant.json, attribution.csv and export.json describe the data")


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
    yes: Annotated[bool, typer.Option("--yes", help="Make the candidate champion if it passes the gate.")] = False,
) -> None:
    """Compare a candidate with the champion, print the gate's verdict, and with --yes make it champion."""
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
            f"The verdict is in {layout.verdict_uri(promotion.run)}; the gate's margins are options of this command.",
        )
    if yes:
        typer.echo(f"{promotion_run.promote(promotion.run, 'at the command line').title} is champion.")
    else:
        typer.echo("The candidate passes the gate. Nothing was changed; --yes makes it champion.")


@app.command("move-back")
def move_back(
    storage: Annotated[str | None, typer.Option(help="Storage root; by default the deployment's.")] = None,
) -> None:
    """Make the previous champion the champion again."""
    from ml.config.deployment import load_deployment
    from ml.promotion import run as promotion_run
    from ml.workflow.attempt import new_attempt

    deployment = load_deployment()
    root, run_id = storage or deployment.storage, f"shell-{new_attempt()}"
    restored, replaced = promotion_run.move_back(root, deployment.defaults, "at the command line", run_id)
    typer.echo(f"{restored.title} is champion again and replaces version {replaced.number}.")


@app.command("clean-up")
@with_options(CleanUpConfig)
def clean_up(
    values: dict[str, object],
    storage: Annotated[str | None, typer.Option(help="Storage root; by default the deployment's.")] = None,
) -> None:
    """List what can be removed from the storage root and why; with --remove, remove it.

    A shell cannot see which runs Airflow has queued or running. If you use Airflow, run open_images_maintenance there.
    """
    from ml.config.deployment import load_deployment
    from ml.retention.items import summarize
    from ml.retention.plan import plan
    from ml.retention.remove import remove

    deployment = load_deployment()
    made = plan(storage or deployment.storage, values, deployment)
    typer.echo(f"Can be removed: {summarize(made.items)}. Full list: {made.uri}")
    if made.config.remove:
        outcome = remove(made, deployment)
        typer.echo(f"Removed: {summarize(outcome.removed)}.")
        if outcome.stayed:
            typer.echo(f"Kept after all: {summarize(outcome.stayed)}.")


@app.command("compare-content")
def compare_content(
    left: Annotated[str, typer.Argument(metavar="ATTEMPT", help="Attempt folder of any stage.")],
    right: Annotated[str, typer.Argument(metavar="ATTEMPT", help="Another attempt folder of the same stage.")],
) -> None:
    """Compare the files, rows and values of two attempts, and print the first difference; exit 1 if there is one."""
    from ml.workflow.content import attempt_digest, first_difference
    from ml.workflow.manifest import load_manifest

    manifests = [load_manifest(uri) for uri in (left, right)]
    if difference := first_difference(*manifests):
        typer.echo(difference)
        raise typer.Exit(1)
    typer.echo(f"The same content: {attempt_digest(manifests[0])}")


@app.command()
def doctor(
    full: Annotated[bool, typer.Option("--full", help="Import TensorFlow and compare repeated attempts too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Check everything that the workflow needs on this machine and give advice; exit 1 on any fault."""
    from ml.doctor.examine import examine
    from ml.doctor.show import show

    findings = examine(full)
    show(findings, as_json)
    if any(finding.state == "fault" for finding in findings):
        raise typer.Exit(1)


def _use_object_store() -> None:
    """Reach the deployment's object store as Airflow's tasks do, where its connection is in the environment."""
    from ml.config.deployment import load_deployment
    from ml.object_store import use_connection

    try:
        name = load_deployment().object_store_connection
    except ConfigurationError:
        return  # the command reports it, if it needs the deployment file
    if name:
        use_connection(name)


def main() -> None:
    """Run a command. A `StageError` prints one line, not a traceback."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # its notes about processors and drivers would hide our log
    log_to_stderr()
    try:
        _use_object_store()
        app()
    except StageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
