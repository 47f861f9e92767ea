"""The analyses of stage explore: pure functions of the tables, which Polars reads lazily."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping, Sequence
from hashlib import sha256

import polars as pl

from ml import storage
from ml.config.training import TrainingConfig
from ml.features.columns import FACE_EDGES, SLICINGS
from ml.features.slicing import Slicing
from ml.flow.exploration import Analyses, Balance, BalanceRow, FaceSizes, FlagCounts, VerifiedImages
from ml.flow.records import ClassCount
from ml.workflow.manifest import Manifest

TOP_CLASSES = 10
SIZE_EDGES = (0, 1, 2, 4, 6, 8, 10, 15, 20, 30, 40, 60, 100)  # percent of the photograph's side; most faces are small
# The columns of the flags, by the names that Open Images gives them.
FLAGS = {
    "IsOccluded": "is_occluded",
    "IsTruncated": "is_truncated",
    "IsGroupOf": "is_group_of",
    "IsDepiction": "is_depiction",
    "IsInside": "is_inside",
}
# What the labels are balanced over, besides the split, whose counts stage featurize records.
BALANCED = ("face_px", "is_occluded", "age_presentation")


def analyze(
    labels: pl.LazyFrame, boxes: pl.LazyFrame, classes: Sequence[ClassCount], config: TrainingConfig
) -> Analyses:
    """Run all analyses of the release.

    Args:
        labels: Image-level labels of the configured classes.
        boxes: Boxes of the configured classes.
        classes: All classes, the most frequent first.
        config: The run's configuration.
    """
    return Analyses(
        top_classes=tuple(classes[:TOP_CLASSES]),
        verified_images=tuple(verified_images(labels, config)),
        faces_per_image=faces_per_image(boxes),
        face_sizes=face_sizes(boxes),
        boxes_by_source=tuple(boxes_by_source(boxes)),
    )


def classes_of_all(extracted: Manifest) -> list[ClassCount]:
    """Count for each class the images verified positive and negative over all deliveries, most positive first.

    An image in several deliveries counts once per delivery: `extract` keeps only the rows of configured classes, so for
    the other classes the replaced rows are unknown.
    """
    found: dict[str, ClassCount] = {}
    for part in extracted.of_deliveries():
        for row in storage.read_json(part.file("images_by_class.json")):
            count = ClassCount.model_validate(row)
            if known := found.get(count.mid):
                count = known.model_copy(
                    update={"positive": known.positive + count.positive, "negative": known.negative + count.negative}
                )
            found[count.mid] = count
    return sorted(found.values(), key=lambda row: (-row.positive, row.name))


def verified_images(labels: pl.LazyFrame, config: TrainingConfig) -> list[VerifiedImages]:
    """Count for each label the images whose labels are all verified positive, and those with a verified negative.

    Only images verified for the chipped class and for a class of the label count, as in the notebook's second analysis.
    The report calls the two groups good and bad, which describes their labels, not the pictures: a negative means that
    a person verified a class as absent.

    Args:
        labels: Columns image_id, name, label and positive. If an image has several rows of a class, absent wins.
        config: The run's configuration.
    """
    verdicts = labels.group_by("image_id", "name").agg(pl.col("label").first(), pl.col("positive").min())
    by_image = verdicts.group_by("image_id").agg(
        (pl.col("name") == config.chip_class).any().alias("chipped"),
        pl.col("positive").all().alias("good"),
        *(
            (pl.col("positive") & (pl.col("label") == label).fill_null(False)).any().alias(f"label.{label}")
            for label in config.label_order
        ),
    )
    row = (
        by_image.filter("chipped")
        .select(
            (pl.col(f"label.{label}") & (pl.col("good") == good)).sum().alias(f"{label}.{good}")
            for label in config.label_order
            for good in (True, False)
        )
        .collect(engine="streaming")
        .row(0, named=True)
    )
    return [
        VerifiedImages(label=label, all_positive=row[f"{label}.True"], with_a_negative=row[f"{label}.False"])
        for label in config.label_order
    ]


def faces_per_image(boxes: pl.LazyFrame) -> dict[int, int]:
    """Map the number of boxes of the chipped class on an image to the number of such images."""
    per_image = boxes.filter(_is_face()).group_by("image_id").agg(pl.len().alias("faces"))
    found = per_image.group_by("faces").agg(pl.len().alias("images")).sort("faces").collect(engine="streaming")
    return dict(found.iter_rows())


def face_sizes(boxes: pl.LazyFrame) -> FaceSizes:
    """Count the faces by the longer side of their box as a percentage of the photograph's side."""
    longer = 100 * pl.max_horizontal(pl.col("x_max") - pl.col("x_min"), pl.col("y_max") - pl.col("y_min"))
    counts = boxes.filter(_is_face()).select(
        ((longer > low) & (longer <= high)).sum().alias(str(low)) for low, high in itertools.pairwise(SIZE_EDGES)
    )
    return FaceSizes(edges=SIZE_EDGES, faces=counts.collect(engine="streaming").row(0))


def boxes_by_source(boxes: pl.LazyFrame) -> list[FlagCounts]:
    """Count the boxes of all configured classes by source and by the value of each flag: 1, 0 or -1 (unknown)."""
    counts = [
        (pl.col(column) == value).sum().alias(f"{column}.{value}") for column in FLAGS.values() for value in (1, 0, -1)
    ]
    rows = boxes.group_by("source").agg(counts).sort("source").collect(engine="streaming")
    return [
        FlagCounts(
            source=row["source"], flag=flag, yes=row[f"{column}.1"], no=row[f"{column}.0"], unknown=row[f"{column}.-1"]
        )
        for row in rows.iter_rows(named=True)
        for flag, column in FLAGS.items()
    ]


def sample_of_images(boxes: pl.LazyFrame, count: int) -> list[tuple[str, str]]:
    """Choose a few images with the chipped class, always the same, as subset and image id."""
    images = boxes.filter(_is_face()).select("subset", "image_id").unique().collect(engine="streaming")
    digests = ((sha256(f"sample:{image}".encode()).hexdigest(), subset, image) for subset, image in images.iter_rows())
    chosen = [(subset, image) for _, subset, image in heapq.nsmallest(count, digests)]
    return sorted(chosen, key=lambda pair: pair[1])


def balance(chips: pl.LazyFrame, splits: Mapping[str, Mapping[str, int]], labels: Sequence[str]) -> tuple[Balance, ...]:
    """Count the faces that were cut out by label, over the values of several columns.

    Args:
        chips: The table `chips` of stage chip.
        splits: The number of faces by split and label, from stage featurize.
        labels: The labels in order.
    """
    found = [_over(chips, "subset", Slicing("Subset", order=("train", "validation", "test")), labels)]
    rows = (BalanceRow(name=split, faces={label: faces[label] for label in labels}) for split, faces in splits.items())
    found.append(Balance(column="split", title="Split", rows=tuple(rows)))
    found += [_over(chips, column, SLICINGS[column], labels) for column in BALANCED]
    return tuple(part for part in found if part.rows)


def _over(chips: pl.LazyFrame, column: str, slicing: Slicing, labels: Sequence[str]) -> Balance:
    """Count the faces by the values of one column; those without a value or a slice are left out."""
    value, name_of = pl.col(column), slicing.name
    if column == "face_px":  # group by the number of edges that are reached, not by each size
        value, name_of = pl.sum_horizontal(value >= edge for edge in FACE_EDGES), slicing.order.__getitem__
    counts = (
        chips.filter(pl.col(column).is_not_null())
        .group_by(value.alias("value"), "label")
        .agg(pl.len().alias("faces"))
        .collect(engine="streaming")
    )
    found: dict[str, dict[str, int]] = {}
    for row in counts.iter_rows(named=True):
        if (name := name_of(row["value"])) is not None:
            found.setdefault(name, dict.fromkeys(labels, 0))[row["label"]] += row["faces"]
    order = {name: place for place, name in enumerate(slicing.order)}
    names = sorted(found, key=lambda name: (order.get(name, len(order)), name))
    return Balance(column=column, title=slicing.title, rows=tuple(BalanceRow(name=n, faces=found[n]) for n in names))


def _is_face() -> pl.Expr:
    return pl.col("chipped") & pl.col("valid")
