"""Choose the faces and pairs that stage explore shows, always the same ones for the same tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from ml.vision.images import Box

SHOWN = 12  # photographs on a sheet
EXAMINED = 2 * SHOWN  # faces without a chip whose photographs are read to find damaged ones
LABELLED = "labelled"  # the outcome of join_labels for faces with a label
_EDGES = ("x_min", "x_max", "y_min", "y_max")
_FACE = ("face_id", "image_id", "subset", "rotation", *_EDGES, "label", "miap_label", "source_class")


@dataclass(frozen=True)
class Face:
    """A face to show on its photograph.

    Attributes:
        face_id: Its id; empty for a box that a later delivery replaced.
        image_id: Its image.
        subset: The subset of the image.
        rotation: The degrees by which the photograph is turned upright.
        box: Its box in the photograph as stored; None if an edge is no number.
        label: Its label, if it has one.
        miap_label: The label that MIAP gives it, if any.
        source_class: The class of the box that gave the label or was contradicted, if any.
    """

    face_id: str
    image_id: str
    subset: str
    rotation: int
    box: Box | None
    label: str | None = None
    miap_label: str | None = None
    source_class: str | None = None


@dataclass(frozen=True)
class Pair:
    """Two photographs that look alike.

    Attributes:
        photographs: Subset, image id and rotation of both.
        splits: The split of each.
        distance: The number of bits in which their hashes differ.
    """

    photographs: tuple[tuple[str, str, int], tuple[str, str, int]]
    splits: tuple[str, str]
    distance: int


@dataclass(frozen=True)
class Drawn:
    """A box to draw on a photograph.

    Attributes:
        name: Its text.
        box: Its edges in the photograph as stored; None if one is no number.
        kind: Whether it is of the chipped class, of a label's class, or of MIAP.
        label: The label of its class, for the kind `person`.
    """

    name: str
    box: Box | None
    kind: Literal["face", "person", "miap"]
    label: str | None = None


def faces_by_reason(faces: pl.LazyFrame) -> dict[str, list[Face]]:
    """Choose the faces to show for each reason of join_labels.

    They have the lowest digests, which face ids end with, and each is on another photograph.
    """
    rows = _one_per_image(faces.select("reason", *_FACE), "reason")
    found: dict[str, list[Face]] = {}
    for row in rows.group_by("reason", maintain_order=True).head(SHOWN).collect().iter_rows(named=True):
        found.setdefault(row["reason"], []).append(_face(row))
    return found


def chipped_faces(faces: pl.LazyFrame, chips: pl.LazyFrame) -> list[Face]:
    """Choose faces that were cut out."""
    labelled = faces.filter(pl.col("reason") == LABELLED).select(_FACE)
    return _first(labelled.join(chips.select("face_id"), on="face_id", how="semi"))


def faces_without_chip(faces: pl.LazyFrame, chips: pl.LazyFrame) -> list[Face]:
    """Choose labeled faces that were not cut out: those of the lowest digests, then the largest.

    The tables do not say why a face was not cut out. Most are too small; of the largest, the photograph is at fault.
    """
    labelled = faces.filter(pl.col("reason") == LABELLED).select(_FACE)
    dropped = labelled.join(chips.select("face_id"), on="face_id", how="anti").collect()
    shorter = pl.min_horizontal(pl.col("x_max") - pl.col("x_min"), pl.col("y_max") - pl.col("y_min"))
    largest = dropped.sort(-shorter, "face_id").unique(["subset", "image_id"], keep="first", maintain_order=True)
    rows = largest.head(EXAMINED).iter_rows(named=True)
    chosen = [*_first(dropped.lazy(), EXAMINED), *map(_face, rows)]
    return list({face.face_id: face for face in chosen}.values())


def differing_faces(faces: pl.LazyFrame) -> tuple[int, list[Face]]:
    """Count the labeled faces to which MIAP gives the other label, and choose some."""
    differ = faces.filter((pl.col("reason") == LABELLED) & (pl.col("label") != pl.col("miap_label"))).select(_FACE)
    found = differ.collect()
    return found.height, _first(found.lazy())


def replaced_faces(boxes: pl.LazyFrame, images: pl.LazyFrame) -> list[Face]:
    """Choose boxes of the chipped class that a later delivery replaced."""
    found = (
        boxes.filter(pl.col("chipped") & pl.col("valid"))
        .select("image_id", "subset", *_EDGES)
        .sort("image_id", *_EDGES)
        .unique(["subset", "image_id"], keep="first", maintain_order=True)
        .head(SHOWN)
        .collect()
    )
    turns = rotations(images, found["image_id"])
    missing = {"face_id": "", "label": None, "miap_label": None, "source_class": None}
    return [_face({**row, **missing, "rotation": turns.get(row["image_id"])}) for row in found.iter_rows(named=True)]


def pairs(duplicates: pl.LazyFrame, images: pl.LazyFrame) -> tuple[int, list[Pair]]:
    """Count the pairs of photographs that look alike, and choose some: pairs across splits first, then the closest.

    Args:
        duplicates: Columns image_id, other_id, split, other_split and distance.
        images: The table `images`.
    """
    found = duplicates.collect()
    chosen = found.sort(pl.col("split") == pl.col("other_split"), "distance", "image_id", "other_id").head(SHOWN)
    wanted = {*chosen["image_id"], *chosen["other_id"]}
    places = {
        row["image_id"]: (row["subset"], row["image_id"], row["rotation"] or 0)
        for row in _of_images(images, wanted).select("image_id", "subset", "rotation").collect().iter_rows(named=True)
    }
    shown = [
        Pair((places[row["image_id"]], places[row["other_id"]]), (row["split"], row["other_split"]), row["distance"])
        for row in chosen.iter_rows(named=True)
        if row["image_id"] in places and row["other_id"] in places
    ]
    return found.height, shown


def boxes_on(boxes: pl.LazyFrame, wanted: Iterable[str]) -> dict[str, list[Drawn]]:
    """Return the valid boxes of the chipped class and of the labels' classes on some images, by image id."""
    rows = _of_images(boxes.filter("valid"), wanted)
    kind = pl.when("chipped").then(pl.lit("face")).otherwise(pl.lit("person"))
    return _drawn(rows.with_columns(pl.col("name").alias("text"), kind.alias("kind")))


def miap_boxes_on(people: pl.LazyFrame, wanted: Iterable[str]) -> dict[str, list[Drawn]]:
    """Return MIAP's valid boxes on some images, by image id."""
    rows = _of_images(people.filter("valid"), wanted)
    presentation = pl.col("gender_presentation").str.replace("Predominantly ", "").str.to_lowercase()
    nothing = pl.lit(None, pl.String)
    return _drawn(
        rows.with_columns(("MIAP: " + presentation).alias("text"), pl.lit("miap").alias("kind"), nothing.alias("label"))
    )


def verified_classes(labels: pl.LazyFrame, wanted: Iterable[str]) -> dict[str, str]:
    """Return the labels' classes that are verified as present and as absent on some images, as text by image id."""
    rows = _of_images(labels.filter(pl.col("label").is_not_null()), wanted)
    verdicts = rows.group_by("image_id", "name").agg(pl.col("positive").min())  # of several verdicts, absent wins
    by_image = (
        verdicts.sort("image_id", pl.col("positive").not_(), "name")
        .group_by("image_id", "positive", maintain_order=True)
        .agg(pl.col("name").str.join(", "))
    )
    found: dict[str, list[str]] = {}
    for row in by_image.collect().iter_rows(named=True):
        found.setdefault(row["image_id"], []).append(f"{'present' if row['positive'] else 'absent'}: {row['name']}")
    return {image: "; ".join(parts) for image, parts in found.items()}


def rotations(images: pl.LazyFrame, wanted: Iterable[str]) -> dict[str, int | None]:
    """Return the rotation of some images."""
    rows = _of_images(images, wanted).group_by("image_id").agg(pl.col("rotation").max()).collect()
    return dict(rows.iter_rows())


def _of_images(table: pl.LazyFrame, wanted: Iterable[str]) -> pl.LazyFrame:
    return table.filter(pl.col("image_id").is_in(sorted(set(wanted))))


def _drawn(rows: pl.LazyFrame) -> dict[str, list[Drawn]]:
    """Collect boxes with columns `text` and `kind` by image; the text says if a box is a group or a depiction."""
    found: dict[str, list[Drawn]] = {}
    columns = ("image_id", *_EDGES, "text", "kind", "label", "is_group_of", "is_depiction")
    for row in rows.select(columns).sort(columns).collect().iter_rows(named=True):
        marked = [word for word, flag in (("group", "is_group_of"), ("depiction", "is_depiction")) if row[flag] == 1]
        name = row["text"] + (f" ({', '.join(marked)})" if marked else "")
        found.setdefault(row["image_id"], []).append(Drawn(name, _box(row), row["kind"], row["label"]))
    return found


def _first(faces: pl.LazyFrame, count: int = SHOWN) -> list[Face]:
    return [_face(row) for row in _one_per_image(faces).head(count).collect().iter_rows(named=True)]


def _one_per_image(faces: pl.LazyFrame, *by: str) -> pl.LazyFrame:
    """Sort the faces by the digest that their ids end with, and keep the first one of each photograph."""
    order = pl.col("face_id").str.tail(12)
    ordered = faces.sort(*by, order, "face_id")
    return ordered.unique([*by, "subset", "image_id"], keep="first", maintain_order=True)


def _face(row: Mapping[str, Any]) -> Face:
    values = {name: row[name] for name in _FACE if name not in _EDGES}
    return Face(**{**values, "rotation": row["rotation"] or 0, "box": _box(row)})


def _box(row: Mapping[str, Any]) -> Box | None:
    """Return the box of a row, None if an edge is no number, as in an invalid box."""
    x_min, x_max, y_min, y_max = (row[edge] for edge in _EDGES)
    if any(edge is None or math.isnan(edge) for edge in (x_min, x_max, y_min, y_max)):
        return None
    return x_min, x_max, y_min, y_max
