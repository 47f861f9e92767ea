"""Stage explore: counts and plots the release, and shows what became of its faces.

Files written: `explore.html`; `explore.json`; a PNG for each analysis and each table of the class balance;
`contact_sheet.png`, some photographs with all their boxes.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from ml import storage
from ml.config.training import TrainingConfig
from ml.features.record import FeaturesRecord
from ml.flow.exploration import Analyses, Balance, Credit, Exploration, ExploreRecord, SheetRecord
from ml.flow.records import ExtractRecord, LabelsRecord, QuarantineCounts
from ml.metrics.agreement import strategy_agreement
from ml.release.contract import QUARANTINE
from ml.release.delivery import versions
from ml.report.data import ExplorationData, ReleaseTable, Sheet
from ml.report.figures import exploration as plots
from ml.report.formats import file_of
from ml.report.html import render_exploration
from ml.report.ledger import ledgers
from ml.report.subject import subject
from ml.stages.analyses import analyze, balance, classes_of_all, sample_of_images
from ml.stages.gallery import Tables, box_colors, boxes_of, draw_gallery, open_tables
from ml.stages.samples import SHOWN, rotations
from ml.stages.sheets import Illustrator, to_jpeg
from ml.vision import images
from ml.workflow.execution import Context, Result
from ml.workflow.manifest import Manifest

log = logging.getLogger(__name__)


def explore(context: Context) -> Result:
    """Analyze the release, draw the sheets of sample photographs, and write the page."""
    config, inputs = context.config, context.inputs
    tables = open_tables(inputs, config)
    found = analyze(tables.labels, tables.boxes, classes_of_all(inputs["extract"]), config)
    balanced = balance(tables.chips, inputs["featurize"].record(FeaturesRecord).faces, config.label_order)
    charts = draw_charts(found, balanced, config)
    contact_sheet, sampled = _contact_sheet(context, tables)
    sheets = draw_gallery(context, tables)
    on_page = {image for _, sheet in sheets for tile in sheet.tiles for image in tile.image_ids}
    figures = charts | ({} if contact_sheet is None else {"contact_sheet": to_jpeg(contact_sheet)})
    data = _page_data(context, found, balanced, figures, sheets, credits_of(tables.images, {*on_page, *sampled}))
    exploration = Exploration(
        **dict(found),
        balance=balanced,
        sheets=tuple(_record(sheet) for _, sheet in sheets),
        photographs_shown=tuple(credits_of(tables.images, sampled)),
        photographs_on_the_page=tuple(data.credits),
    )
    if contact_sheet is not None:
        charts["contact_sheet"] = images.encode_png(contact_sheet)
    for name, picture in charts.items():
        storage.write_bytes(context.path(file_of(name, picture)), picture)
    storage.write_json(context.path("explore.json"), exploration.json_values())
    storage.write_bytes(context.path("explore.html"), render_exploration(data).encode())
    log.info("drew %d photographs on %d sheets", sum(len(sheet.tiles) for _, sheet in sheets), len(sheets))
    return Result(
        ExploreRecord(
            **dict(found),
            balance=balanced,
            plots={name: context.path(file_of(name, picture)) for name, picture in charts.items()},
            report=context.path("explore.html"),
        )
    )


def draw_charts(found: Analyses, balanced: Iterable[Balance], config: TrainingConfig) -> dict[str, bytes]:
    """Draw a chart of each analysis and of each part of the class balance; return the SVG files by name."""
    about = subject(config)
    return {
        "top_classes": plots.top_classes([(row.name, row.positive, row.negative) for row in found.top_classes]),
        "verified_images": plots.verified_images(
            [(row.label, row.all_positive, row.with_a_negative) for row in found.verified_images], about
        ),
        "faces_per_image": plots.faces_per_image(found.faces_per_image, config.chip_class),
        "face_sizes": plots.face_sizes(found.face_sizes.edges, found.face_sizes.faces, config.chip_class),
        "boxes_by_source": plots.boxes_by_source(
            [(row.source, row.flag, row.yes, row.no, row.unknown) for row in found.boxes_by_source],
            f"{config.chip_class} and labels' classes",
        ),
        **{f"balance_{part.column}": plots.balance(part, config.label_order, about.plural) for part in balanced},
    }


def credits_of(table: pl.LazyFrame, wanted: Iterable[str]) -> list[Credit]:
    """Return the credits of photographs, as far as the release has them, sorted by image id."""
    rows = table.filter(pl.col("image_id").is_in(sorted(wanted))).select(tuple(Credit.model_fields))
    found = rows.unique("image_id", keep="first", maintain_order=True).sort("image_id").collect()
    return [Credit(**row) for row in found.iter_rows(named=True)]


def release_tables(extracted: Manifest) -> list[ReleaseTable]:
    """Return the release's tables in numbers."""
    record = extracted.record(ExtractRecord)
    unbroken = QuarantineCounts(rows=0, by_rule={})
    broken = {name: record.quarantined.get(name, unbroken) for name in record.rows}
    return [
        ReleaseTable(
            name=name,
            rows=rows,
            kept=extracted.rows(name),
            nulls={
                column: counts
                for column, counts in record.nulls.get(name, {}).items()
                if counts.null or counts.empty or counts.nan
            },
            broken=broken[name].rows,
            by_rule=dict(sorted(broken[name].by_rule.items(), key=lambda item: (-item[1], item[0]))),
        )
        for name, rows in record.rows.items()
    ]


def quarantine_folders(extracted: Manifest) -> list[str]:
    """Return the folders of the tables `quarantine` that have rows, oldest delivery first."""
    deliveries = extracted.of_deliveries()
    return [storage.join(delivery.uri, QUARANTINE) for delivery in deliveries if delivery.rows(QUARANTINE)]


def _contact_sheet(context: Context, tables: Tables) -> tuple[images.Pixels | None, list[str]]:
    """Draw a few photographs of the release with all their boxes; return the sheet and the image ids."""
    sample = sample_of_images(tables.boxes, SHOWN)
    ids = [image for _, image in sample]
    turns = rotations(tables.images, ids)
    illustrator = Illustrator(context.run, context.config, boxes_of(tables, set(ids)))
    drawn = illustrator.draw_contact_sheet((subset, image, turns.get(image) or 0) for subset, image in sample)
    return drawn, ids


def _page_data(
    context: Context,
    found: Analyses,
    balanced: Sequence[Balance],
    figures: Mapping[str, bytes],
    sheets: Sequence[tuple[str, Sheet]],
    credits: Sequence[Credit],
) -> ExplorationData:
    config, run, inputs = context.config, context.run, context.inputs
    by_stage: dict[str, list[Sheet]] = {}
    for stage, sheet in sheets:
        by_stage.setdefault(stage, []).append(sheet)
    labeled = inputs["join_labels"].record(LabelsRecord)
    return ExplorationData(
        run_id=run.run_id,
        config=TrainingConfig(**run.parameters),  # all of it, because the page names some that no number depends on
        subject=subject(config),
        written=datetime.datetime.now(datetime.UTC),
        version=versions(run.deliveries),
        deliveries=[delivery.name for delivery in run.deliveries if delivery.date],
        tables=release_tables(inputs["extract"]),
        quarantine=quarantine_folders(inputs["extract"]),
        unlike_published=inputs["extract"].record(ExtractRecord).unlike_published,
        analyses=found,
        balance=balanced,
        agreement=strategy_agreement(labeled.miap or {}),
        figures=figures,
        ledgers=ledgers({name: inputs[name].ledger for name in ("join_labels", "chip")}, config.chip_class),
        sheets=by_stage,
        colors=box_colors(config, labeled.miap is not None),
        credits=credits,
    )


def _record(sheet: Sheet) -> SheetRecord:
    return SheetRecord(
        name=sheet.name,
        title=sheet.title,
        count=sheet.count,
        shown=tuple(tile.key for tile in sheet.tiles),
        not_shown=tuple(sheet.missing),
    )
