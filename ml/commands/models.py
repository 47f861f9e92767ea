"""The commands `models`, `compare`, `promote` and `move-back`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from ml.commands.options import MODEL_HELP, AttemptOption, JsonOption, StorageOption, new_run_id, run_uri
from ml.errors import ConfigurationError

if TYPE_CHECKING:
    from ml.public.storage import Trained


def models(storage: StorageOption = None, as_json: JsonOption = False) -> None:
    """List the trained models: version and decision, accuracy, and the parameters in which they differ."""
    from ml.public.storage import open_storage

    opened = open_storage(storage)
    found = opened.models()
    if as_json:
        typer.echo(json.dumps([_as_json(each) for each in found], indent=2))
        return
    from rich.console import Console
    from rich.table import Column, Table

    differing = _differing(found)
    run = Column("trained by run", overflow="fold")
    table = Table("version", "decision", run, "finished", "accuracy", *differing)
    for each in found:
        aliases = "".join(f" {alias}" for alias in each.aliases)
        version = each.model.version
        table.add_row(
            f"{version.number}{aliases}" if version else "",
            (version.decision or "") if version else "",
            ", ".join(each.runs),
            each.finished[:16].replace("T", " "),
            "" if each.accuracy is None else f"{each.accuracy:.3f}",
            *(json.dumps(each.parameters.get(name)) for name in differing),
        )
    Console().print(table)


def compare(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help=f"The first model: {MODEL_HELP}")] = None,
    baseline: Annotated[
        str | None, typer.Argument(metavar="BASELINE", help="The second one, named in the same ways.")
    ] = None,
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="<name, path or URI>", help="Instead: a run whose `baseline` names a model."),
    ] = None,
    attempt: AttemptOption = None,
    storage: StorageOption = None,
) -> None:
    """Compare two models on the same test faces, those of the first one's run; decides nothing."""
    if run is None and model and baseline:
        _compare(model, baseline, storage)
    elif run and not model:
        from ml.commands.stage import run_stage
        from ml.flow.table import STAGES
        from ml.workflow.run import load_run

        typer.echo(run_stage(load_run(run_uri(run)), STAGES["compare"], attempt).uri)
    else:
        raise typer.BadParameter("Name two models, or a run with --run.")


def _compare(model: str, baseline: str, storage: str | None) -> None:
    from ml.commands.stage import run_stage
    from ml.config.deployment import load_deployment
    from ml.flow.table import STAGES
    from ml.metrics.records import ComparisonRecord
    from ml.promotion.comparison import open_comparison
    from ml.public.run import shown

    deployment = load_deployment()
    root = storage or deployment.storage
    opened = open_comparison(root, new_run_id(), {"model": model, "baseline": baseline}, deployment)
    record = run_stage(opened, STAGES["compare"]).record(ComparisonRecord)
    found = record.accuracy_difference
    typer.echo(
        f"accuracy {record.accuracy.model.defined:.4f} and {record.accuracy.baseline.defined:.4f} on "
        f"{record.faces:,} test faces"
    )
    typer.echo(f"difference {found.value:+.4f} (95% interval {found.low:+.4f} to {found.high:+.4f})")
    typer.echo(f"McNemar's test: p = {record.mcnemar.p_value:.3g}")
    typer.echo(f"Comparison: {shown(record.report)}")


def promote(
    values: dict[str, object],
    storage: StorageOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Make the candidate champion if it passes the gate.")] = False,
) -> None:
    """Compare a candidate with the champion, print the gate's verdict, and with --yes make it champion."""
    from ml.commands.stage import run_stage
    from ml.config.deployment import load_deployment
    from ml.flow.table import STAGES
    from ml.promotion import run as promotion_run
    from ml.workflow import layout
    from ml.workflow.run import load_run

    deployment = load_deployment()
    try:
        promotion = promotion_run.open_promotion(storage or deployment.storage, new_run_id(), values, deployment)
    except promotion_run.NothingToDecideError as nothing:
        typer.echo(nothing)
        return
    if promotion.compares:
        run_stage(load_run(promotion.run), STAGES["compare"])
    verdict = promotion_run.gate(promotion.run)
    typer.echo("\n".join([verdict.markdown(), *(f"{name}: {uri}" for name, uri in verdict.reports.items())]))
    if not verdict.passed:
        failed = [rule.title for rule in verdict.rules if not rule.passed]
        raise ConfigurationError(
            f"The gate refuses {promotion.candidate.title}, by the rules: {'; '.join(failed)}.",
            f"The verdict is in {layout.verdict_uri(promotion.run)}; the gate's margins are options of this command.",
        )
    if yes:
        typer.echo(f"{promotion_run.promote(promotion.run, 'at the command line').title} is champion.")
    else:
        typer.echo("The candidate passes the gate. Nothing was changed; --yes makes it champion.")


def move_back(storage: StorageOption = None) -> None:
    """Make the previous champion the champion again."""
    from ml.config.deployment import load_deployment
    from ml.promotion import run as promotion_run

    deployment = load_deployment()
    restored, replaced = promotion_run.move_back(
        storage or deployment.storage, deployment.defaults, "at the command line", new_run_id()
    )
    typer.echo(f"{restored.title} is champion again and replaces version {replaced.number}.")


def _differing(found: list[Trained]) -> list[str]:
    """Return the parameters of trainings that are not the same in all of them."""
    names = dict.fromkeys(name for each in found for name in each.parameters)
    return [name for name in names if len({json.dumps(each.parameters.get(name)) for each in found}) > 1]


def _as_json(trained: Trained) -> dict[str, object]:
    version = trained.model.version
    return {
        "attempt": trained.model.uri,
        "version": version.model_dump(mode="json") if version else None,
        "aliases": list(trained.aliases),
        "runs": list(trained.runs),
        "finished": trained.finished,
        "accuracy": trained.accuracy,
        "parameters": trained.parameters,
    }
