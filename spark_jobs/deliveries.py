"""Combine several deliveries: a later delivery of an image replaces its rows and its photograph."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ml.workflow.manifest import Manifest
from spark_jobs.lookups import find, key, take
from spark_jobs.session import read_table

HELD = "held"  # table of extract: the images that have rows in a dated delivery, by table
PHOTOGRAPHS = "photographs"  # the listings of the deliveries' photographs, as a table of whole images


def images_held(raw: DataFrame, table: str) -> DataFrame:
    """Return the images that have rows in a delivery's table, including rows of classes that are not configured."""
    return raw.select(F.lit(table).alias("table"), F.col("ImageID").alias("image_id"), "delivery").distinct()


def read_current(spark: SparkSession, extracted: Manifest, table: str) -> DataFrame:
    """Read a table of `extract` over all deliveries, with each image's rows from the newest delivery that has any."""
    rows = read_table(spark, extracted.table(table))
    if len(extracted.parts) == 1:
        return rows
    return _current(rows, _held(spark, extracted, table))


def _current(rows: DataFrame, held: DataFrame) -> DataFrame:
    """Drop an image's rows if a later delivery has rows of the same image.

    Args:
        rows: Rows with columns image_id and delivery.
        held: The images that have rows in this table, by delivery: columns image_id and delivery.
    """
    return (
        rows.join(_newest(held), "image_id", "left")
        .where(F.col("newest").isNull() | (F.col("delivery") == F.col("newest")))
        .drop("newest")
    )


def _held(spark: SparkSession, extracted: Manifest, table: str) -> DataFrame:
    return read_table(spark, extracted.table(HELD)).where(F.col("table") == table)


def _newest(held: DataFrame) -> DataFrame:
    """Return the newest delivery of each image that is in several deliveries; dates sort as text."""
    by_image = held.groupBy("image_id").agg(
        F.max("delivery").alias("newest"), F.count_distinct("delivery").alias("deliveries")
    )
    return by_image.where(F.col("deliveries") > 1).select("image_id", "newest")


# --- the same on the tables of whole images, within a task


def current(rows: pa.Table, held: pa.Table, table: str) -> pa.Table:
    """Drop an image's rows if a later delivery has rows of the same image.

    Args:
        rows: Rows with columns image_id and delivery.
        held: The images that have rows in a delivery, by table: columns table, image_id and delivery.
        table: The table that has the rows.
    """
    held = held.filter(pc.equal(held.column("table"), table))
    if not len(held):
        return rows
    by_image = held.group_by("image_id", use_threads=False).aggregate(
        [("delivery", "max"), ("delivery", "count_distinct")]
    )
    several = by_image.filter(pc.greater(by_image.column("delivery_count_distinct"), 1))
    newest = take(several.column("delivery_max"), find(rows.column("image_id"), several.column("image_id")))
    return rows.filter(pc.or_(newest.is_null(), pc.equal(rows.column("delivery"), newest).fill_null(True)))


def locate(faces: pa.Table, images: pa.Table, photographs: pa.Table, deliveries: Sequence[str]) -> pa.ChunkedArray:
    """Return for each face the newest delivery that holds its photograph.

    If no listing names the photograph, the delivery is the one whose table `images` lists the image.

    Args:
        faces: Faces with columns image_id and subset.
        images: The table `images`, with each image's rows from the newest delivery that has any.
        photographs: The listings of the deliveries: columns image_id, subset and delivery.
        deliveries: The names of the run's deliveries, oldest first.
    """
    if len(deliveries) == 1:
        return pa.chunked_array([pa.repeat(deliveries[0], len(faces))])
    found = []
    for holding in (photographs, images):
        newest = holding.group_by(["image_id", "subset"], use_threads=False).aggregate([("delivery", "max")])
        places = find(key(faces, "image_id", "subset"), key(newest, "image_id", "subset"))
        found.append(take(newest.column("delivery_max"), places))
    return pc.coalesce(*found)
