"""Combine several deliveries: a later delivery of an image replaces its rows and its photograph."""

from __future__ import annotations

from collections.abc import Iterable

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ml import storage
from ml.release.delivery import Delivery
from ml.workflow import layout
from ml.workflow.manifest import Manifest
from spark_jobs.session import read_table

HELD = "held"  # table of extract: the images that have rows in a dated delivery, by table


def read_current(spark: SparkSession, extracted: Manifest, table: str) -> DataFrame:
    """Read a table of `extract` over all deliveries, with each image's rows from the newest delivery that has any."""
    rows = read_table(spark, extracted.table(table))
    if len(extracted.parts) == 1:
        return rows
    return current(rows, _held(spark, extracted, table))


def count_replaced(spark: SparkSession, extracted: Manifest) -> int:
    """Count the boxes of the chipped class that a later delivery replaced."""
    if len(extracted.parts) == 1:
        return 0
    boxes = read_table(spark, extracted.table("boxes")).where("chipped")
    newest = _newest(_held(spark, extracted, "boxes"))
    return boxes.join(newest, "image_id").where(F.col("delivery") < F.col("newest")).count()


def current(rows: DataFrame, held: DataFrame) -> DataFrame:
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
    # `held` may name an image several times for one delivery, so its rows do not count deliveries.
    by_image = held.groupBy("image_id").agg(F.max("delivery").alias("newest"), F.min("delivery").alias("oldest"))
    return by_image.where(F.col("oldest") < F.col("newest")).select("image_id", "newest")


def locate_photographs(
    spark: SparkSession, faces: DataFrame, images: DataFrame, deliveries: Iterable[Delivery], root: str
) -> DataFrame:
    """Add to each face the column `delivery`: the newest delivery that holds its photograph.

    If no listing names the photograph, the delivery is the one whose table `images` lists the image.

    Args:
        spark: The session.
        faces: Faces with columns image_id and subset.
        images: The table `images`, over all deliveries.
        deliveries: The run's deliveries, oldest first.
        root: The storage root, which holds the listings.
    """
    first, *later = deliveries
    if not later:
        return faces.withColumn("delivery", F.lit(first.name))
    listed = images.select("image_id", "subset", F.col("delivery").alias("listing_delivery")).distinct()
    found = faces.join(listed, ["image_id", "subset"], "left")
    listings = [
        spark.read.parquet(storage.hadoop_uri(layout.delivery_cache(root).listing_uri(delivery.listing))).withColumn(
            "holds", F.lit(delivery.name)
        )
        for delivery in (first, *later)
        if delivery.listing
    ]
    holding = F.col("listing_delivery")
    if listings:
        held = listings[0]
        for listing in listings[1:]:
            held = held.unionByName(listing)
        newest = held.groupBy("image_id", "subset").agg(F.max("holds").alias("holds"))
        found = found.join(newest, ["image_id", "subset"], "left")
        holding = F.coalesce("holds", "listing_delivery")
    return found.withColumn("delivery", holding).drop("holds", "listing_delivery")
