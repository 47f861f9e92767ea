"""Read the annotation files of a release by column name, and type their values."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from ml import storage
from ml.release.miap import AGES, PRESENTATIONS
from ml.release.release import header

FLAGS = ("IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside")
EDGES = ("XMin", "XMax", "YMin", "YMax")


def read_csv(spark: SparkSession, uris: dict[str, str]) -> DataFrame:
    """Read a table's CSV files, one per subset, as strings by column name, and add the column `subset`.

    The files may hold further columns, in any order. A column that a file lacks is NULL in its rows.
    """
    parts = []
    for subset, uri in uris.items():
        schema = T.StructType([T.StructField(name, T.StringType()) for name in header(uri)])
        rows = spark.read.csv(
            storage.hadoop_uri(uri),
            schema=schema,
            header=True,
            escape='"',
            nullValue="\0",  # occurs in no file, so an absent field is NULL and a quoted empty one is not
        )
        parts.append(rows.withColumn("subset", F.lit(subset)))
    table = parts[0]
    for part in parts[1:]:
        table = table.unionByName(part, allowMissingColumns=True)
    return table


def type_labels(raw: DataFrame) -> DataFrame:
    """Type the image-level labels: one row per image and class.

    `positive` is true where a person verified the class as present, false where verified as absent. Where an image has
    both verdicts for a class, absent wins: the model must not learn from a contradicted label.
    """
    confidence = F.col("Confidence").try_cast("double")
    return (
        raw.select(
            F.col("ImageID").alias("image_id"),
            "subset",
            F.col("LabelName").alias("mid"),
            F.when(confidence.isin(0.0, 1.0), confidence == 1.0).alias("positive"),
        )
        .groupBy("image_id", "mid")
        .agg(F.min("subset").alias("subset"), F.min("positive").alias("positive"), F.count("*").alias("rows"))
    )


def type_boxes(raw: DataFrame) -> DataFrame:
    """Type the boxes; `valid` is false where a coordinate or a flag is not a legal value.

    Coordinates must be numbers in [0, 1] and in order; flags must be 1, 0 or -1.
    """
    return _type_boxes(raw, F.col("Source").alias("source"))


def type_miap(raw: DataFrame) -> DataFrame:
    """Type MIAP's boxes like other boxes, with the same names for the flags.

    Gender and age presentation are NULL where the value is not one of MIAP's.
    """
    words = {"GenderPresentation": PRESENTATIONS, "AgePresentation": AGES}
    return _type_boxes(
        raw.withColumnsRenamed({"IsDepictionOf": "IsDepiction", "IsInsideOf": "IsInside"}),
        *(
            F.when(F.col(name).isin(*known), F.col(name)).alias(name.replace("Presentation", "_presentation").lower())
            for name, known in words.items()
        ),
    )


def _type_boxes(raw: DataFrame, *extra: Column) -> DataFrame:
    edges = {name: F.col(name).try_cast("double") for name in EDGES}
    flags = {name: F.col(name).try_cast("double").cast("tinyint") for name in FLAGS}
    x_min, x_max, y_min, y_max = (F.col(name) for name in ("x_min", "x_max", "y_min", "y_max"))
    # Spark orders NaN above every number, so `<= 1` rejects it.
    inside = (x_min >= 0) & (x_min < x_max) & (x_max <= 1) & (y_min >= 0) & (y_min < y_max) & (y_max <= 1)
    flagged = F.lit(True)
    for name in FLAGS:
        flagged = flagged & F.col(flag_column(name)).isin(-1, 0, 1)
    return raw.select(
        F.col("ImageID").alias("image_id"),
        "subset",
        F.col("LabelName").alias("mid"),
        *extra,
        *(
            column.alias(alias)
            for alias, column in zip(("x_min", "x_max", "y_min", "y_max"), edges.values(), strict=True)
        ),
        *(column.alias(flag_column(name)) for name, column in flags.items()),
    ).withColumn("valid", F.coalesce(inside & flagged, F.lit(False)))


def type_images(raw: DataFrame) -> DataFrame:
    """Type the images and keep what their license requires; `rotation` is NULL unless it is 0, 90, 180 or 270."""
    rotation = F.col("Rotation").try_cast("double") if "Rotation" in raw.columns else F.lit(None).cast("double")
    return raw.select(
        F.col("ImageID").alias("image_id"),
        "subset",
        F.when(rotation.isin(0.0, 90.0, 180.0, 270.0), rotation.cast("int")).alias("rotation"),
        F.col("OriginalLandingURL").alias("landing_url"),
        F.col("License").alias("license"),
        F.col("Author").alias("author"),
        F.col("Title").alias("title"),
    )


def flag_column(flag: str) -> str:
    """Return the name of a flag's typed column, such as `is_group_of` for `IsGroupOf`."""
    return "is_" + flag.removeprefix("Is").lower().replace("groupof", "group_of")
