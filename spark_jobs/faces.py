"""Find the faces of whole images, and give each a label or the reason why it has none: a pure function over tables.

The tables are those of `extract`, as published: rows of an image may be in several deliveries, and labels may be
repeated or contradict each other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ml.features.columns import EDGES
from ml.features.outputs import OUTPUTS
from ml.release.contract import PRESENTED
from ml.release.delivery import HELD
from spark_jobs.deliveries import PHOTOGRAPHS, current, locate
from spark_jobs.face_ids import face_ids
from spark_jobs.labelling import STRATEGIES, LabelSettings, Strategy
from spark_jobs.lookups import Index, find, first_reason, key, ranked, take, true

LABELLED = "labelled"
OVER_LIMIT = "over the image limit"
FLAGS = ("is_occluded", "is_truncated", "is_group_of", "is_depiction")
OWN_REASONS = ("invalid box", "repeated box", "group", "depiction", "image not listed")
# In order of precedence: a face gets the first reason that applies.
REASONS = tuple(
    dict.fromkeys((*OWN_REASONS, *(reason for row in STRATEGIES.values() for reason in row.reasons), OVER_LIMIT))
)
COMPARED = ("box", "image")  # strategies whose labels are compared with MIAP's


def _schema(table: str, *names: str) -> pa.Schema:
    return OUTPUTS["extract", table].schema(names)


# The columns that labelling reads of each table.
TABLES = {
    "boxes": _schema(
        *("boxes", "image_id", "subset", "mid", "source", *EDGES, *FLAGS, "valid", "name", "label", "chipped"),
        "delivery",
    ),
    "labels": _schema("labels", "image_id", "mid", "label", "positive", "delivery"),
    "images": _schema("images", "image_id", "subset", "rotation", "delivery"),
    "miap": _schema(
        *("miap", "image_id", "subset", *EDGES, "is_group_of", "is_depiction", "valid", *PRESENTED.values()),
        "delivery",
    ),
    HELD: _schema(HELD, "table", "image_id", "delivery"),
    PHOTOGRAPHS: _schema("images", "image_id", "subset", "delivery"),
}
FACES = OUTPUTS["join_labels", "faces"].schema()


@dataclass(frozen=True)
class Labelled:
    """The faces of some images.

    Attributes:
        faces: The table `faces`, sorted.
        counts: Counts that the table does not show, by name.
    """

    faces: pa.Table
    counts: dict[str, int]


def label_faces(
    tables: Mapping[str, pa.Table], settings: LabelSettings, strategies: Mapping[str, Strategy] = STRATEGIES
) -> Labelled:
    """Give each face a label, or the reason why it has none.

    Args:
        tables: The tables of whole images, with the columns of `TABLES`.
        settings: What labelling depends on.
        strategies: The strategies by name.

    Returns:
        One row per box of the chipped class, repeated boxes included, sorted by image. Strategies `box` and `miap` add
        the class or presentation of the source box and the share of the face that this box contains. With MIAP boxes,
        miap_label and age_presentation say what strategy `miap` found; without, they are NULL.
    """
    now = {name: current(rows, tables[HELD], name) for name, rows in tables.items() if name not in (HELD, PHOTOGRAPHS)}
    counts = {"replaced": _chipped(tables["boxes"]).num_rows - _chipped(now["boxes"]).num_rows}
    now["labels"], found_twice = resolve(now["labels"])
    faces = find_faces(now["boxes"], now["images"])
    reason = faces.column("reason")
    places = np.flatnonzero(~true(reason.is_valid()))
    applied = tuple(strategies) if settings.subsets else (settings.strategy,)
    found = {
        name: _spread(strategies[name].label(faces.take(places), now, settings), places, len(faces)) for name in applied
    }
    chosen = found[settings.strategy]
    reason = pc.coalesce(reason, chosen.column("verdict"), LABELLED)
    columns = {name: faces.column(name) for name in faces.column_names}
    columns |= {name: chosen.column(name) for name in ("label", "source_class", "source_containment")}
    nothing = pa.nulls(len(faces), pa.string())
    miap = found["miap"] if settings.subsets else None
    columns["miap_label"] = miap.column("label") if miap else nothing
    columns["age_presentation"] = miap.column("age_presentation") if miap else nothing
    columns |= {"reason": reason, "delivery": locate(faces, now["images"], tables[PHOTOGRAPHS], settings.deliveries)}
    counts |= found_twice | _agreement(found, faces.column("subset"), settings.subsets)
    return Labelled(pa.table([columns[name] for name in FACES.names], schema=FACES), counts)


def resolve(labels: pa.Table) -> tuple[pa.Table, dict[str, int]]:
    """Return one row per image and class, and how many were repeated and contradicted.

    Where an image has both verdicts for a class, absent wins: the model must not learn from a contradicted label.
    """
    by_pair = labels.group_by(["image_id", "mid"], use_threads=False).aggregate(
        [("label", "min"), ("positive", "min"), ("positive", "max"), ("positive", "count")]
    )
    low, high = by_pair.column("positive_min"), by_pair.column("positive_max")
    counts = {
        "labels repeated": int(np.count_nonzero(by_pair.column("positive_count").to_numpy() > 1)),
        "labels contradicted": int(np.count_nonzero(true(pc.not_equal(low, high)))),
    }
    columns = [by_pair.column(name) for name in ("image_id", "mid", "label_min", "positive_min")]
    return pa.table(columns, names=["image_id", "mid", "label", "positive"]), counts


def _chipped(boxes: pa.Table) -> pa.Table:
    return boxes.filter(pa.array(true(boxes.column("chipped"))))


def find_faces(boxes: pa.Table, images: pa.Table) -> pa.Table:
    """Return the boxes of the chipped class with face ids, the rotation of their images, and reasons of their own."""
    faces = _chipped(boxes).drop_columns(["label"]).rename_columns({"name": "face_class"})
    faces = faces.append_column("face_id", face_ids(faces))
    faces = faces.take(pc.sort_indices(faces, [("image_id", "ascending"), ("face_id", "ascending")]))
    ids = faces.column("face_id")
    repeated = np.zeros(len(faces), bool)
    repeated[1:] = true(pc.equal(ids[1:], ids[:-1]))
    if repeated.any():
        # Repeated boxes differ in these columns at most; all of them take part, so that they have one order.
        ranks = [ranked(faces.column(name))[1] for name in ("source", *FLAGS, "valid", "face_class", "delivery")]
        faces = faces.take(pa.array(np.lexsort((*ranks[::-1], np.cumsum(~repeated)))))
    listed = images.group_by(["image_id", "subset"], use_threads=False).aggregate([("rotation", "max")])
    place = find(key(faces, "image_id", "subset"), key(listed, "image_id", "subset"))
    group, depiction = (true(pc.equal(faces.column(flag), 1)) for flag in ("is_group_of", "is_depiction"))
    applies = (~true(faces.column("valid")), repeated, group, depiction, place < 0)
    reason = first_reason(*zip(OWN_REASONS, applies, strict=True))
    return faces.append_column("rotation", take(listed.column("rotation_max"), place)).append_column("reason", reason)


def _spread(found: pa.Table, places: Index, length: int) -> pa.Table:
    """Put the rows of a strategy at their faces' places among all faces; other rows are NULL."""
    back = np.full(length, -1)
    back[places] = np.arange(len(places))
    return found.take(pa.array(back, mask=back < 0))


def _agreement(found: Mapping[str, pa.Table], subsets: pa.ChunkedArray, covered: Iterable[str]) -> dict[str, int]:
    """Count the faces labeled by strategies `box` and `image`, by agreement with MIAP."""
    counts = {}
    for subset in covered:
        here = true(pc.equal(subsets, subset))
        miap = found["miap"].column("label")
        for strategy in COMPARED:
            label = found[strategy].column("label")
            given = here & true(label.is_valid())
            agree = given & true(pc.equal(label, miap))
            unknown = given & true(miap.is_null())
            counts[f"{subset}.{strategy}.agree"] = int(agree.sum())
            counts[f"{subset}.{strategy}.disagree"] = int((given & ~agree & ~unknown).sum())
            counts[f"{subset}.{strategy}.miap unknown"] = int(unknown.sum())
    return counts


# --- the image limit


def image_digest(image_id: str) -> str:
    """Return the digest of an ImageID, salted so that the image limit is independent of the split."""
    return hashlib.sha256(f"limit:{image_id}".encode()).hexdigest()


def lowest_digests(faces: pa.Table, images_per_label: int) -> dict[str, list[str]]:
    """Return for each label the lowest digests of its images, as many as the limit allows."""
    pairs = faces.filter(faces.column("label").is_valid()).group_by(["label", "image_id"]).aggregate([]).to_pylist()
    digests: dict[str, list[str]] = {}
    for pair in pairs:
        digests.setdefault(pair["label"], []).append(image_digest(pair["image_id"]))
    return {label: sorted(found)[:images_per_label] for label, found in digests.items()}


def highest_allowed(found: Iterable[Mapping[str, list[str]]], images_per_label: int) -> dict[str, str]:
    """Return for each label the highest digest among the lowest ones of all buckets that the limit allows."""
    merged: dict[str, list[str]] = {}
    for digests in found:
        for label, of_label in digests.items():
            merged.setdefault(label, []).extend(of_label)
    return {label: sorted(digests)[:images_per_label][-1] for label, digests in merged.items()}


def limit_images(faces: pa.Table, allowed: Mapping[str, str]) -> pa.Table:
    """Take the label of the faces whose images have a higher digest than their label allows."""
    pairs = zip(faces.column("label").to_pylist(), faces.column("image_id").to_pylist(), strict=True)
    over = pa.array([label is not None and image_digest(image) > allowed[label] for label, image in pairs], pa.bool_())
    for name, value in (("reason", OVER_LIMIT), ("label", None)):
        column = pc.if_else(over, pa.scalar(value, pa.string()), faces.column(name))
        faces = faces.set_column(faces.column_names.index(name), name, column)
    return faces
