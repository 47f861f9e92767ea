"""chip: cut every labelled face out of its photograph, with one decode a photograph.

Table written: `chips`, one row a face: its encoded chip and what evaluation wants to know of it. Photographs are read
where they lie; what moves through Spark is the list of faces, grouped by image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from ml import storage
from ml.config.training import TrainingConfig
from ml.errors import DataError
from ml.guards import check_count, check_faults
from ml.release.release import Release
from ml.vision import images
from ml.workflow.execution import Context, Result
from spark_jobs.job import main, observed, read_table, write_table
from spark_jobs.join_labels import LABELLED

CHIPPED = "chipped"
REASONS = ("image absent", "image unreadable", "too small")
OTHER_SQUARE = "have a chip that is not the square around their box, as large as in the photograph"
NOT_UPRIGHT = "have a chip that is not turned as its photograph's Rotation says"
DEFECTS = (OTHER_SQUARE, NOT_UPRIGHT)
ROUNDING = 2  # of 255: what the mean of a quarter may differ by after resizing
IMAGES_PER_TASK = 500  # a task of some ten seconds: enough to hide its start, little to lose with a worker
BYTES_PER_CHIP = 20_000  # mean of chips of the largest stored side, measured on photographs; for the estimate
CARRIED = ("face_id", "label", "source", "is_occluded", "is_truncated", "miap_label", "age_presentation")
FACE_FIELDS = (*CARRIED, "x_min", "x_max", "y_min", "y_max")
SCHEMA = (
    "face_id string, image_id string, subset string, rotation int, label string, source string, is_occluded tinyint, "
    "is_truncated tinyint, miap_label string, age_presentation string, face_px double, status string, first boolean, "
    "defect string, chip binary"
)


def group_by_image(faces: DataFrame, tasks: int) -> DataFrame:
    """One row an image with the list of its labelled faces, spread over `tasks` partitions."""
    return (
        faces.where(F.col("reason") == LABELLED)
        .groupBy("image_id", "subset")
        .agg(F.max("rotation").alias("rotation"), F.sort_array(F.collect_list(F.struct(*FACE_FIELDS))).alias("faces"))
        .repartition(tasks, "image_id")
    )


def cut_chips(by_image: DataFrame, release: Release, config: TrainingConfig) -> DataFrame:
    """Cut the chips of all images: one row a face, with `status` `chipped` or the reason why there is no chip.

    What is wrong with a chip, see `find_defect`, stands in `defect`.
    """
    return by_image.mapInArrow(_cutter(release, config.margin, config.min_face_size), SCHEMA)


def _cutter(
    release: Release, margin: float, min_face_size: int
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function that Spark's Python workers run over batches of images."""

    def cut(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for image in batch.to_pylist():
                rows = cut_image(image, release, margin, min_face_size)
                # One batch an image: all its faces' chips together are small, and nothing piles up.
                yield pa.RecordBatch.from_pylist(rows, schema=_ARROW_SCHEMA)

    return cut


_ARROW_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("face_id", "image_id", "subset")),
        ("rotation", pa.int32()),
        ("label", pa.string()),
        ("source", pa.string()),
        ("is_occluded", pa.int8()),
        ("is_truncated", pa.int8()),
        ("miap_label", pa.string()),
        ("age_presentation", pa.string()),
        ("face_px", pa.float64()),
        ("status", pa.string()),
        ("first", pa.bool_()),
        ("defect", pa.string()),
        ("chip", pa.binary()),
    ]
)


def cut_image(image: dict[str, Any], release: Release, margin: float, min_face_size: int) -> list[dict[str, Any]]:
    """Read and decode one photograph and cut all its faces; the chips are upright, the boxes are not touched.

    Args:
        image: image_id, subset, rotation (None counts as 0) and the list of faces.
        release: Where the photographs lie.
        margin: See `ml.vision.images.square`.
        min_face_size: In pixels of the stored photograph.

    Returns:
        One row a face; `first` marks one row of the image, so that images can be counted; `defect` says what is wrong
        with the chip, see `find_defect`.
    """
    pixels, fault = None, None
    try:
        pixels = images.decode(storage.read_bytes(release.photograph(image["subset"], image["image_id"])))
    except FileNotFoundError:
        fault = "image absent"
    except images.UnreadableImageError:
        fault = "image unreadable"
    rows = []
    for number, face in enumerate(image["faces"]):
        row = {name: face[name] for name in CARRIED}
        row |= {name: image[name] for name in ("image_id", "subset")} | {"rotation": image["rotation"] or 0}
        row |= {"status": fault, "first": number == 0, "chip": None, "face_px": None, "defect": None}
        if pixels is not None:
            box = (face["x_min"], face["x_max"], face["y_min"], face["y_max"])
            height, width = pixels.shape[:2]
            row["face_px"] = min(images.box_size(box, width, height))
            if row["face_px"] < min_face_size:
                row["status"] = "too small"
            else:
                cut = images.cut_chip(pixels, box, margin, row["rotation"])
                row["status"], row["defect"] = CHIPPED, find_defect(cut, pixels, box, margin, row["rotation"])
                row["chip"] = images.encode_jpeg(cut)
        rows.append(row)
    return rows


def find_defect(
    chip: images.Pixels, photograph: images.Pixels, box: images.Box, margin: float, rotation: int
) -> str | None:
    """Compare a chip with the part of the photograph that it is to show.

    It has that part's own size, so that nothing but the network's input is resized, or the largest side that is stored.
    Of a photograph that is stored turned, the means of the chip's four quarters are those of the part turned upright.
    Quarters that are alike tell nothing, yet what goes wrong with one chip goes wrong with many.

    Args:
        chip: As it is about to be stored.
        photograph: As stored.
        box: The face box.
        margin: See `ml.vision.images.square`.
        rotation: The photograph's Rotation, in degrees.

    Returns:
        One of `DEFECTS`, or None.
    """
    height, width = photograph.shape[:2]
    left, top, side = images.square(box, width, height, margin)
    stored = min(side, images.STORED_SIDE)
    if chip.shape[:2] != (stored, stored):
        return OTHER_SQUARE
    if not rotation:  # nearly all: the quarters would cost as much as cutting
        return None
    expected = np.rot90(images.resize(images.crop(photograph, left, top, side), 2), rotation // 90)
    difference = np.abs(images.resize(chip, 2).astype(int) - expected)
    return NOT_UPRIGHT if difference.max() > ROUNDING else None


def run(spark: SparkSession, context: Context) -> Result:
    """Chip the faces that `join_labels` asks of a delivery; too many absent or unreadable photographs stop the run."""
    config, labelled, delivery = context.config, context.inputs["join_labels"], context.delivery
    assert delivery is not None  # the stage is done by delivery
    expected: int = labelled.metrics["asked"][delivery.name]["faces"]
    if not labelled.ledger[LABELLED]:
        reasons = ", ".join(f"{count} {reason}" for reason, count in labelled.ledger.items() if count)
        raise DataError(
            f"No face has a label ({reasons or 'the release holds no face'}).", "Check the release's boxes."
        )
    storage.check_space(context.uri, expected * BYTES_PER_CHIP, f"{expected} chips")
    tasks = max(spark.sparkContext.defaultParallelism, expected // IMAGES_PER_TASK)
    faces = read_table(spark, labelled.table("faces")).where(F.col("delivery") == delivery.name)
    photographs = faces.where(F.col("reason") == LABELLED).select("image_id", "subset").distinct().count()
    by_image = group_by_image(faces, tasks)
    counts = Observation("chips")
    chips = cut_chips(by_image, context.release, config).observe(
        counts,
        *(F.count_if(F.col("status") == status).alias(status) for status in (CHIPPED, *REASONS)),
        *(F.count_if(F.col("defect") == defect).alias(defect) for defect in DEFECTS),
        F.count_if(F.col("first")).alias("images"),
        *(F.count_if(F.col("first") & (F.col("status") == fault)).alias(f"images.{fault}") for fault in REASONS[:2]),
        *(
            F.min(F.when(F.col("status") == fault, F.concat_ws("/", "subset", "image_id"))).alias(f"example.{fault}")
            for fault in REASONS[:2]
        ),
    )
    chips = chips.where(F.col("status") == CHIPPED).drop("status", "first", "defect")
    write_table(chips, context, "chips")
    seen = observed(counts)
    check_count(expected, sum(seen[status] for status in (CHIPPED, *REASONS)), "Labelled faces that were to be chipped")
    check_count(photographs, seen["images"], "Photographs of labelled faces, each to be decoded once")
    check_faults({defect: seen[defect] for defect in DEFECTS}, context.path("chips"))
    faults = {fault: seen[f"images.{fault}"] for fault in REASONS[:2]}
    if sum(faults.values()) > config.max_fault_share * seen["images"]:
        told = ", ".join(f"{n} {fault} (such as {seen[f'example.{fault}']}.jpg)" for fault, n in faults.items() if n)
        raise DataError(
            f"Of {seen['images']} photographs below {context.release.photographs}: {told}.",
            "Download them, or raise max_fault_share.",
        )
    return Result(
        {"images": seen["images"], "photograph faults": faults},
        {reason: seen[reason] for reason in (CHIPPED, *REASONS)},
    )


if __name__ == "__main__":
    main("chip", run)
