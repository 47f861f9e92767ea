"""The command line: `python -m ml --help`."""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

try:
    import typer
except ModuleNotFoundError:
    sys.exit(
        f"error: {sys.executable} lacks the project's packages. In the project's folder, run this first: "
        'eval "$(.venv/bin/python scripts/local_airflow.py env)"'
    )

from ml.commands.models import compare, models, move_back, promote
from ml.commands.options import RUN_HELP, AttemptOption, RunIdOption, StorageOption, new_run_id, run_uri
from ml.commands.predict import predict
from ml.commands.runs import open_training, report, run, runs
from ml.config.clean_up import CleanUpConfig
from ml.config.command_help import in_force
from ml.config.download import DownloadConfig
from ml.config.forms import with_options
from ml.config.parameter import FlowConfig
from ml.config.prediction import PredictionConfig
from ml.config.promotion import PromotionConfig
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError, StageError
from ml.export.formats import Format
from ml.flow.stage import Stage
from ml.flow.table import ALL_STAGES
from ml.logs import log_to_stderr
from ml.store_faults import explain


class PackFormat(enum.StrEnum):
    """The formats of `pack`."""

    parquet = "parquet"
    tar = "tar"


HELP = """Train a classifier of perceived gender presentation on Open Images, look at what it learned, and use it.

`run` does everything on this machine; `runs`, `models` and `report` show the results; `predict` classifies photographs.
"""
DATA, RUNS, MODELS, STAGE = "Data", "Runs", "Models and predictions", "One stage of a run"
UPKEEP = "Upkeep"
app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=HELP)

RunName = Annotated[str, typer.Option("--run", metavar="<name, path or URI>", help=RUN_HELP)]


def command(
    name: str, panel: str, flow: type[FlowConfig] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command whose help shows the values in force."""
    return app.command(name, cls=in_force(flow), rich_help_panel=panel)


@command("sample-release", DATA)
def sample_release(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write; it must be new or empty.")],
    scenes: Annotated[int, typer.Option(help="Number of scenes to draw.", min=10)] = 240,
    seed: Annotated[int, typer.Option(help="Random seed.", min=0)] = 0,
) -> None:
    """Write a small release of drawn cartoon portraits in the official layout."""
    from ml.sample.release import write_sample_release

    typer.echo(write_sample_release(directory, scenes, seed))


@command("download", DATA, DownloadConfig)
@with_options(DownloadConfig)
def download(values: dict[str, object], storage: StorageOption = None) -> None:
    """Download annotations and photographs of Open Images as a delivery of a landing."""
    from ml.config.deployment import load_deployment
    from ml.download.delivery import download as fetch
    from ml.download.delivery import open_target
    from ml.download.estimate import estimate

    deployment = load_deployment()
    target = open_target(storage or deployment.storage, values, deployment)
    typer.echo(estimate(target) if target.config.dry_run else fetch(target))


@command("seal-delivery", DATA)
def seal_delivery(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Folder <YYYY-MM-DD> of a landing, or its URI.")],
) -> None:
    """Count a delivery's rows and photographs and write its delivery.json, which makes the delivery visible to runs."""
    from ml.config.deployment import load_deployment
    from ml.photographs.source import Columns
    from ml.release.note import seal

    note = seal(directory, Columns.parse(load_deployment().defaults.photograph_columns))
    typer.echo(f"{note.date}: {sum(note.rows.values()):,} rows, {note.photographs:,} photographs")


@command("pack", DATA)
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


@command("export", DATA)
def export(
    run: RunName,
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
    uri = run_uri(run)  # before anything slow is imported
    from ml.export.run import export_run

    record = export_run(uri, out, form)
    for part, faces in record.faces.items():
        if any(faces.values()):
            typer.echo(f"{part}: {', '.join(f'{count:,} {label}' for label, count in faces.items())}")
    left_out = ", ".join(f"{count:,} {name}" for counts in record.left_out.values() for name, count in counts.items())
    typer.echo(f"left out: {left_out or 'nothing'}")
    typer.echo(f"photographs: {record.photographs:,}, of which {record.without_author:,} name no author")
    typer.echo(f"{out}: README.md, croissant.json, attribution.csv and export.json describe the data")


command("run", RUNS, TrainingConfig)(with_options(TrainingConfig)(run))
command("runs", RUNS)(runs)
command("report", RUNS)(report)


@command("open-run", RUNS, TrainingConfig)
@with_options(TrainingConfig)
def open_run(values: dict[str, object], storage: StorageOption = None, run_id: RunIdOption = None) -> None:
    """Validate the parameters and the release, write a run folder and print its URI."""
    from ml.config.deployment import load_deployment

    typer.echo(open_training(values, load_deployment(), storage, run_id).uri)


def _add_command(stage: Stage) -> None:
    def do(run: RunName, attempt: AttemptOption = None) -> None:
        from ml.commands.stage import run_stage
        from ml.workflow.run import load_run

        typer.echo(run_stage(load_run(run_uri(run)), stage, attempt).uri)

    do.__doc__ = stage.purpose
    command(stage.name, STAGE)(do)


command("models", MODELS)(models)
command("compare", MODELS)(compare)
command("promote", MODELS, PromotionConfig)(
    with_options(PromotionConfig, leave_out=("include_backfills", "mode", "approval_hours", "move_back"))(promote)
)
command("move-back", MODELS)(move_back)
command("predict", MODELS, PredictionConfig)(predict)


@command("open-prediction", MODELS, PredictionConfig)
@with_options(PredictionConfig)
def open_prediction(values: dict[str, object], storage: StorageOption = None, run_id: RunIdOption = None) -> None:
    """List photographs for the Spark job `predict`, write a run folder and print its URI."""
    from ml.config.deployment import load_deployment
    from ml.prediction import run as prediction_run

    deployment = load_deployment()
    opened = prediction_run.open_prediction(storage or deployment.storage, run_id or new_run_id(), values, deployment)
    typer.echo(opened.uri)


for _stage in ALL_STAGES.values():
    if _stage.body and _stage.name != "compare":  # which also compares two models without a run
        _add_command(_stage)


@command("clean-up", UPKEEP, CleanUpConfig)
@with_options(CleanUpConfig)
def clean_up(values: dict[str, object], storage: StorageOption = None) -> None:
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


@command("compare-content", UPKEEP)
def compare_content(
    left: Annotated[str, typer.Argument(metavar="ATTEMPT", help="Attempt folder of any stage.")],
    right: Annotated[str, typer.Argument(metavar="ATTEMPT", help="Another attempt folder of the same stage.")],
) -> None:
    """Compare the files, rows and values of two attempts, and print the first difference; exit 1 if there is one."""
    from ml.workflow.manifest import load_manifest

    manifests = [load_manifest(uri) for uri in (left, right)]
    from ml.workflow.content import attempt_digest, first_difference

    if difference := first_difference(*manifests):
        typer.echo(difference)
        raise typer.Exit(1)
    typer.echo(f"The same content: {attempt_digest(manifests[0])}")


@command("doctor", UPKEEP)
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
    """Run a command. An error that says what to do prints one line, not a traceback."""
    log_to_stderr()
    try:
        _use_object_store()
        app()
    except StageError as error:
        _fail(error)
    except (OSError, RuntimeError) as error:  # of a disk or a store
        if not (explained := explain(error)):
            raise
        _fail(explained)


def _fail(error: StageError) -> NoReturn:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
