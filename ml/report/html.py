"""The report of an evaluation: one HTML file that holds all it shows and asks for nothing from elsewhere."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import jinja2
import pyarrow.dataset

from ml import storage
from ml.features.record import FeaturesRecord
from ml.metrics.estimate import proportion
from ml.report.formats import data_uri, duration, fixed, number, percent, points
from ml.report.ledger import ledgers, parameters
from ml.report.subject import PERCEIVED, subject

if TYPE_CHECKING:
    from ml.workflow.execution import Context
    from ml.workflow.manifest import Manifest

CREDITS = ("image_id", "author", "title", "landing_url", "license")


def templates() -> jinja2.Environment:
    """The package's templates. What comes from a release is escaped; a name that is not there is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ml.report"),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    formats = {"percent": percent, "points": points, "fixed": fixed}
    environment.filters |= formats | {
        "number": number,
        "threshold": "{:.3g}".format,
        "apply": lambda value, name: formats[name](value),
        "data_uri": data_uri,
    }
    return environment


def render_report(
    context: Context, metrics: Mapping[str, Any], figures: Mapping[str, bytes], shown_images: Iterable[str] = ()
) -> str:
    """Write the report's HTML.

    Of the input stages featurize and train are needed; others that are absent leave their part of the report out.

    Args:
        context: Of stage `evaluate`.
        metrics: What stage `evaluate` writes into `metrics.json`.
        figures: Its PNG files by name.
        shown_images: ImageIDs of the faces in the contact sheets, for their credits.
    """
    config = context.config
    explore = context.inputs.get("explore")
    splits = context.inputs["featurize"].record(FeaturesRecord).faces
    return (
        templates()
        .get_template("report.html.j2")
        .render(
            about=subject(config),
            people=subject(config) == PERCEIVED,
            config=config,
            run=context.run,
            now=datetime.datetime.now(datetime.UTC),
            metrics=metrics,
            scale=_scale(metrics),
            figures=figures,
            train=context.inputs["train"].metrics,
            validation=_validation(context.inputs["train"].metrics),
            splits=splits,
            total_faces=sum(sum(faces.values()) for faces in splits.values()),
            ledgers=ledgers(context.inputs, config.chip_class),
            explored=_explore_figures(explore) if explore else {},
            credits=photo_credits(context, shown_images),
            parameters=parameters(context.run.parameters),
            stages=[*map(_stage, context.inputs.values()), _this_attempt(context)],
            versions=context.inputs["train"].versions,
        )
    )


def render_comparison(context: Context, comparison: Mapping[str, Any], plot: bytes) -> str:
    """Write the HTML of a comparison of two models.

    Args:
        context: Of stage `compare`.
        comparison: What the stage writes into `compare.json`.
        plot: PNG file of the differences by slice.
    """
    return (
        templates()
        .get_template("compare.html.j2")
        .render(
            about=subject(context.config),
            people=subject(context.config) == PERCEIVED,
            run=context.run,
            now=datetime.datetime.now(datetime.UTC),
            comparison=comparison,
            plot=plot,
        )
    )


def _validation(trained: Mapping[str, Any]) -> dict[str, Any] | None:
    """The accuracy on the validation faces with Wilson's interval; older attempts of stage train did not measure it."""
    measured = trained.get("validation", {})
    if "accuracy" not in measured:
        return None
    # Of these faces only the number is kept, not their images, so the interval takes them as independent.
    return proportion(round(measured["accuracy"] * measured["faces"]), measured["faces"])


def _explore_figures(explore: Manifest) -> dict[str, bytes]:
    names = [file.path for file in explore.files if file.path.endswith(".png")]
    return {name.removesuffix(".png"): storage.read_bytes(explore.file(name)) for name in names}


def photo_credits(context: Context, shown_images: Iterable[str]) -> list[dict[str, Any]]:
    """Author, title, page and licence of the photographs that are shown, as far as the release names them."""
    explore, images = context.inputs.get("explore"), set(shown_images)
    found: dict[str, dict[str, Any]] = {}
    if explore and any(file.path == "explore.json" for file in explore.files):
        for row in storage.read_json(explore.file("explore.json")).get("photographs shown", []):
            found[row["image_id"]] = row
    extract = context.inputs.get("extract")
    if extract and (tables := extract.table("images")):
        fs, _ = storage.filesystem(tables[0])
        paths = [storage.filesystem(uri)[1] for uri in tables]
        dataset = pyarrow.dataset.dataset(paths, filesystem=fs, format="parquet")
        wanted = pyarrow.dataset.field("image_id").isin(sorted(images - found.keys()))
        for row in dataset.to_table(columns=list(CREDITS), filter=wanted).to_pylist():
            found[row["image_id"]] = row
    return [found[image] for image in sorted(found)]


def _stage(manifest: Manifest) -> dict[str, str]:
    started, finished = (datetime.datetime.fromisoformat(t) for t in (manifest.started, manifest.finished))
    return {
        "name": manifest.stage,
        "attempt": manifest.attempt,
        "finished": f"{finished:%Y-%m-%d %H:%M} UTC",
        "took": duration(finished - started),
    }


def _this_attempt(context: Context) -> dict[str, str]:
    return {"name": "evaluate", "attempt": context.uri.rpartition("/")[2], "finished": "this report", "took": ""}


def _scale(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The range of the headline's little scale, in shares: wide enough for interval and baseline, with some air."""
    shown = [metrics["accuracy"]["low"], metrics["accuracy"]["high"], metrics["majority"]["value"]]
    low = max(0.0, min(0.5, *shown) - 0.05)
    return {"low": low, "span": 1.0 - low}
