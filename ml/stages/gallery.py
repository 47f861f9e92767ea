"""Make the sheets of sample photographs of stage explore: choose the faces, then draw them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from ml.config.training import TrainingConfig
from ml.flow.reasons import explain
from ml.release.miap import presentation_labels
from ml.report.data import Sheet
from ml.report.subject import subject
from ml.stages import samples
from ml.stages.samples import Drawn, Face
from ml.stages.sheets import FACE_COLOR, MIAP_COLOR, Illustrator
from ml.vision import drawing
from ml.workflow.execution import Context
from ml.workflow.manifest import Manifest
from ml.workflow.tables import scan_current, scan_replaced, scan_table

CHIPPED, REPLACED = "chipped", "replaced by a later delivery"  # outcomes of chip and of join_labels
OTHER = ""  # the stage of sheets that belong to no ledger


@dataclass(frozen=True)
class Tables:
    """The tables that the sheets are made from.

    Attributes:
        labels: Image-level labels, of extract.
        boxes: Boxes, of extract.
        images: Images, of extract.
        miap: MIAP's boxes, of extract; None if the labels are not MIAP's presentations or the release has none.
        replaced: Boxes that a later delivery replaced.
        faces: Faces, of join_labels.
        chips: Chips, of chip.
        duplicates: Photographs that look alike, of featurize; None if it did not look for them.
    """

    labels: pl.LazyFrame
    boxes: pl.LazyFrame
    images: pl.LazyFrame
    miap: pl.LazyFrame | None
    replaced: pl.LazyFrame
    faces: pl.LazyFrame
    chips: pl.LazyFrame
    duplicates: pl.LazyFrame | None


@dataclass(frozen=True)
class Selection:
    """The faces to show on a sheet.

    Attributes:
        stage: The stage whose ledger counts them, or `OTHER`.
        title: The sheet's title: the outcome in the ledger.
        count: How many faces there are.
        explanation: What they have in common.
        faces: The faces to show.
        kinds: The kinds of boxes to draw beside them; without any, the chip is shown, not the photograph.
    """

    stage: str
    title: str
    count: int
    explanation: str
    faces: Sequence[Face]
    kinds: frozenset[str]


def open_tables(inputs: Mapping[str, Manifest], config: TrainingConfig) -> Tables:
    """Open the tables of the earlier stages, without reading them."""
    extracted, features = inputs["extract"], inputs["featurize"]
    has_miap = presentation_labels(config) is not None and extracted.table("miap")
    return Tables(
        labels=scan_current(extracted, "labels"),
        boxes=scan_current(extracted, "boxes"),
        images=scan_current(extracted, "images"),
        miap=scan_current(extracted, "miap") if has_miap else None,
        replaced=scan_replaced(extracted, "boxes"),
        faces=scan_table(inputs["join_labels"], "faces"),
        chips=scan_table(inputs["chip"], "chips"),
        duplicates=scan_table(features, "duplicates") if features.table("duplicates") else None,
    )


def draw_gallery(context: Context, tables: Tables) -> list[tuple[str, Sheet]]:
    """Return the sheets, each with the stage whose ledger counts its faces, or `OTHER`."""
    selections = [*_of_join_labels(context, tables), *_of_chip(context, tables), *_of_differing(tables)]
    wanted = {face.image_id for selection in selections for face in selection.faces}
    illustrator = Illustrator(
        context.run,
        context.config,
        boxes_of(tables, wanted),
        samples.verified_classes(tables.labels, wanted),
    )
    return [
        *((selection.stage, _draw(selection, illustrator)) for selection in selections),
        *((OTHER, sheet) for sheet in _pairs(tables, illustrator)),
    ]


def boxes_of(tables: Tables, wanted: set[str]) -> dict[str, list[Drawn]]:
    """Return all boxes on some images, by image id."""
    found = samples.boxes_on(tables.boxes, wanted)
    if tables.miap is not None:
        for image, boxes in samples.miap_boxes_on(tables.miap, wanted).items():
            found.setdefault(image, []).extend(boxes)
    return found


def box_colors(config: TrainingConfig, with_miap: bool) -> list[tuple[str, str]]:
    """Return the names of the kinds of boxes on the sheets and their colors in CSS."""
    kinds = [(subject(config).noun, FACE_COLOR)]
    kinds += [(f"box of {label}", color) for label, color in zip(config.label_order, drawing.PALETTE, strict=False)]
    kinds += [("MIAP's box", MIAP_COLOR)] if with_miap else []
    return [(name, f"rgb({color[0]}, {color[1]}, {color[2]})") for name, color in kinds]


def _of_join_labels(context: Context, tables: Tables) -> list[Selection]:
    config, stage = context.config, "join_labels"
    found = samples.faces_by_reason(tables.faces)
    found[REPLACED] = samples.replaced_faces(tables.replaced, tables.images)
    return [
        Selection(stage, reason, count, _explain(stage, reason, config), found.get(reason, []), _kinds(reason, config))
        for reason, count in context.inputs[stage].ledger.items()
        if count
    ]


def _of_chip(context: Context, tables: Tables) -> list[Selection]:
    config, stage, ledger = context.config, "chip", context.inputs["chip"].ledger
    found: dict[str, list[Face]] = {CHIPPED: samples.chipped_faces(tables.faces, tables.chips)}
    if sum(ledger.values()) > ledger[CHIPPED]:
        found |= Illustrator(context.run, config).sort_by_fault(samples.faces_without_chip(tables.faces, tables.chips))
    return [
        Selection(
            stage,
            reason,
            count,
            _explain(stage, reason, config),
            found.get(reason, [])[: samples.SHOWN],
            frozenset() if reason == CHIPPED else _kinds(reason, config),
        )
        for reason, count in ledger.items()
        if count
    ]


def _of_differing(tables: Tables) -> list[Selection]:
    if tables.miap is None:
        return []
    count, faces = samples.differing_faces(tables.faces)
    text = "This run gives one label and MIAP the other. One of the two annotations is at fault, or the case is open."
    kinds = frozenset({"person", "miap"})
    return [Selection(OTHER, "label differs from MIAP's", count, text, faces, kinds)] if count else []


def _pairs(tables: Tables, illustrator: Illustrator) -> list[Sheet]:
    if tables.duplicates is None:
        return []
    count, pairs = samples.pairs(tables.duplicates, tables.images)
    if not count:
        return []
    shown = illustrator.show_pairs(pairs)
    text = "Two photographs look alike by their perceptual hashes. Pairs in different splits come first."
    return [Sheet("near-duplicates", "near-duplicates", count, text, shown.tiles, shown.missing, "pairs")]


def _draw(selection: Selection, illustrator: Illustrator) -> Sheet:
    photographs = bool(selection.kinds)
    if photographs:
        shown = illustrator.show_faces(selection.faces, selection.kinds)
    else:
        shown = illustrator.show_chips(selection.faces)
    name = f"{selection.stage} {selection.title}".strip().replace(" ", "-").replace("'", "").lower()
    return Sheet(
        name,
        selection.title,
        selection.count,
        selection.explanation,
        shown.tiles,
        shown.missing,
        "photographs" if photographs else "chips",
    )


def _kinds(reason: str, config: TrainingConfig) -> frozenset[str]:
    """Return the kinds of boxes that explain an outcome."""
    return frozenset({"miap"} if "MIAP" in reason or config.label_strategy == "miap" else {"person"})


def _explain(stage: str, reason: str, config: TrainingConfig) -> str:
    return explain(stage, reason, subject(config).noun)
