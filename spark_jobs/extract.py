"""extract: the annotation files of a delivery, typed and checked, with only the classes that matter kept.

Tables written: `classes`, `labels`, `boxes`, `images`, `miap` where the delivery has it, and `held` where it is dated:
the images of which it holds rows, so that a later delivery can replace those of an earlier one. What is counted of all
rows (nulls by column, images by class) is observed in the pass that writes the kept ones.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, Observation, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from ml import storage
from ml.config.training import TrainingConfig
from ml.errors import DataError
from ml.release.miap import AGES, PERSON, PRESENTATIONS, UNKNOWN
from ml.release.release import header, read_classes
from ml.workflow.execution import Context, Result
from spark_jobs.deliveries import HELD, images_held
from spark_jobs.job import main, observed, read_table, write_table

FLAGS = ("IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside")
EDGES = ("XMin", "XMax", "YMin", "YMax")
PRESENTED = ["gender_presentation", "age_presentation"]
# Distinct (class, verdict) pairs that are counted exactly: the sketch is exact while it has room for all of them, and
# even the 19,994 classes of all image-level labels, twice, leave it half empty.
CLASS_COUNTER_ROOM = 131_072


def class_table(names: dict[str, str], config: TrainingConfig) -> bytes:
    """The table `classes` as a Parquet file: mid, name, the label that it gives or NULL, whether it is chipped."""
    columns = {
        "mid": pa.array(names.values(), pa.string()),
        "name": pa.array(names.keys(), pa.string()),
        "label": pa.array([config.label_classes.get(name) for name in names], pa.string()),
        "chipped": pa.array([name == config.chip_class for name in names], pa.bool_()),
    }
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue().to_pybytes()


def read_csv(spark: SparkSession, uris: dict[str, str]) -> DataFrame:
    """Read a table's CSV files, one a subset, as strings by column name, with the subset as column `subset`.

    Files may hold other columns, in other orders; a column that only some have is NULL in the others.
    """
    parts = []
    for subset, uri in uris.items():
        schema = T.StructType([T.StructField(name, T.StringType()) for name in header(uri)])
        rows = spark.read.csv(
            storage.hadoop_uri(uri),
            schema=schema,
            header=True,
            escape='"',
            nullValue="\0",  # no file holds it: so a field that is left out is NULL, and a quoted empty one is not
        )
        parts.append(rows.withColumn("subset", F.lit(subset)))
    table = parts[0]
    for part in parts[1:]:
        table = table.unionByName(part, allowMissingColumns=True)
    return table


def null_counts(columns: Iterable[str]) -> list[Column]:
    """For each column how many values are NULL (an empty field), empty (`""`) or blank, and NaN, each by itself."""
    counts = []
    for name in columns:
        text = F.trim(F.col(f"`{name}`"))
        counts += [
            F.count_if(F.col(f"`{name}`").isNull()).alias(f"null.{name}"),
            F.count_if(text == "").alias(f"empty.{name}"),
            F.count_if(F.lower(text) == "nan").alias(f"nan.{name}"),
        ]
    return counts


def type_labels(raw: DataFrame) -> DataFrame:
    """Image-level labels, typed, one row an image and class.

    `positive` is true where a person verified the class as present, false where verified as absent. Where an image has
    both verdicts for a class, absent wins: a contradicted label must not be learned from.
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
    """Boxes, typed; `valid` is false where a coordinate is no number or lies wrong, or a flag is none of 1, 0, -1."""
    return _type_boxes(raw, F.col("Source").alias("source"))


def type_miap(raw: DataFrame) -> DataFrame:
    """MIAP's boxes, typed and valid as boxes are, their flags under the same names.

    Gender and age presentation are NULL where they are none of MIAP's words.
    """
    words = {"GenderPresentation": PRESENTATIONS, "AgePresentation": AGES}
    return _type_boxes(
        raw.withColumnsRenamed({"IsDepictionOf": "IsDepiction", "IsInsideOf": "IsInside"}),
        *(
            F.when(F.col(name).isin(*known), F.col(name)).alias(name.replace("Presentation", "_presentation").lower())
            for name, known in words.items()
        ),
    )


def _type_boxes(raw: DataFrame, *others: Column) -> DataFrame:
    edges = {name: F.col(name).try_cast("double") for name in EDGES}
    flags = {name: F.col(name).try_cast("double").cast("tinyint") for name in FLAGS}
    x_min, x_max, y_min, y_max = (F.col(name) for name in ("x_min", "x_max", "y_min", "y_max"))
    # Spark holds NaN to be greater than any number, so `<= 1` refuses it.
    inside = (x_min >= 0) & (x_min < x_max) & (x_max <= 1) & (y_min >= 0) & (y_min < y_max) & (y_max <= 1)
    flagged = F.lit(True)
    for name in FLAGS:
        flagged = flagged & F.col(flag_column(name)).isin(-1, 0, 1)
    return raw.select(
        F.col("ImageID").alias("image_id"),
        "subset",
        F.col("LabelName").alias("mid"),
        *others,
        *(
            column.alias(alias)
            for alias, column in zip(("x_min", "x_max", "y_min", "y_max"), edges.values(), strict=True)
        ),
        *(column.alias(flag_column(name)) for name, column in flags.items()),
    ).withColumn("valid", F.coalesce(inside & flagged, F.lit(False)))


def type_images(raw: DataFrame) -> DataFrame:
    """Images, typed, with what their licence asks to be kept; an empty or unknown Rotation is NULL.

    `rotation_known` is false where the value is none of 0, 90, 180, 270.
    """
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
    """The typed column of a flag: `is_group_of` for `IsGroupOf`."""
    return "is_" + flag.removeprefix("Is").lower().replace("groupof", "group_of")


def extract(spark: SparkSession, context: Context) -> Result:
    """Read, type, check and count the release's files; keep the rows of the configured classes."""
    config, release, delivery = context.config, context.release, context.delivery
    assert delivery is not None  # the stage is done by delivery
    named = F.lit(delivery.name).alias("delivery")
    names = read_classes(release)
    storage.write_bytes(context.path("classes", "part-0.parquet"), class_table(names, config))
    classes = F.broadcast(read_table(spark, [context.path("classes", "part-0.parquet")]))
    wanted = (F.col("label").isNotNull()) | F.col("chipped")

    nulls: dict[str, dict[str, dict[str, int]]] = {}
    raw, seen = {}, {}
    for table, uris in release.tables.items():
        raw[table] = read_csv(spark, uris)
        seen[table] = Observation(f"raw {table}")
        columns = [name for name in raw[table].columns if name != "subset"]
        raw[table] = raw[table].observe(seen[table], F.count(F.lit(1)).alias("rows"), *null_counts(columns))

    counted = Observation("labels")
    labels = type_labels(raw["labels"]).join(classes, "mid", "left")
    labels = labels.observe(
        counted,
        F.count_if(F.col("rows") > 1).alias("repeated"),
        F.count_if(F.col("positive").isNull()).alias("no verdict"),
        F.count_if(F.col("name").isNull()).alias("unknown class"),
        F.to_json(
            F.expr(f"approx_top_k(concat(mid, '|', positive), {CLASS_COUNTER_ROOM // 2}, {CLASS_COUNTER_ROOM})")
        ).alias("by class"),
    )
    labels = labels.where(wanted & F.col("positive").isNotNull())
    write_table(labels.select("image_id", "subset", "mid", "name", "label", "positive", named), context, "labels")

    box_counts = Observation("boxes")
    boxes = type_boxes(raw["boxes"]).join(classes, "mid", "left")
    boxes = boxes.observe(
        box_counts,
        F.count_if(F.col("name").isNull()).alias("unknown class"),
        F.count_if(~F.col("valid")).alias("invalid"),
        F.count_if(wanted).alias("kept"),
        F.count_if(wanted & ~F.col("valid")).alias("kept invalid"),
        F.count_if(F.col("chipped")).alias("chipped"),
        F.min(F.when(~F.col("valid"), F.concat_ws(" ", "subset", "image_id", "name"))).alias("an invalid box"),
    )
    write_table(boxes.where(wanted).withColumn("delivery", named), context, "boxes")

    miap_counts = Observation("miap")
    if "miap" in raw:
        person = F.col("mid") == PERSON
        people = type_miap(raw["miap"]).observe(
            miap_counts,
            F.count_if(person).alias("kept"),
            F.count_if(person & ~F.col("valid")).alias("kept invalid"),
            *(F.count_if(person & F.col(name).isNull()).alias(f"no {name}") for name in PRESENTED),
            F.min(F.when(~F.col("valid"), F.concat_ws(" ", "subset", "image_id"))).alias("an invalid box"),
        )
        people = people.where(person).drop("mid").fillna(UNKNOWN, PRESENTED)
        write_table(people.withColumn("delivery", named), context, "miap")

    image_counts = Observation("images")
    images = type_images(raw["images"]).observe(
        image_counts,
        F.count_if(F.col("rotation").isNull()).alias("rotation unknown"),
        F.count_if(F.col("rotation") > 0).alias("turned"),
    )
    write_table(images.withColumn("delivery", named), context, "images")
    if delivery.date:
        held = [
            images_held(read_csv(spark, uris).withColumn("delivery", named), t) for t, uris in release.tables.items()
        ]
        write_table(functools.reduce(DataFrame.unionByName, held), context, HELD)

    for table, observation in seen.items():
        counts = observed(observation)
        columns = [name for name in raw[table].columns if name != "subset"]
        nulls[table] = {c: {kind: counts[f"{kind}.{c}"] for kind in ("null", "empty", "nan")} for c in columns}
    _check_faults("boxes of the configured classes", observed(box_counts), config)
    label_counts = observed(counted)
    metrics = {
        "rows": {table: observed(observation)["rows"] for table, observation in seen.items()},
        "nulls": nulls,
        "labels": {name: label_counts[name] for name in ("repeated", "no verdict", "unknown class")},
        "boxes": {name: n for name, n in observed(box_counts).items() if name != "an invalid box"},
        "images": observed(image_counts),
    }
    if "miap" in raw:
        people_seen = observed(miap_counts)
        _check_faults("MIAP boxes", people_seen, config)
        metrics["miap"] = {
            "subsets": list(release.tables["miap"]),
            "other classes": metrics["rows"]["miap"] - people_seen["kept"],
            **{name: n for name, n in people_seen.items() if name != "an invalid box"},
        }
    if len(context.run.deliveries) == 1:  # of several, the others may hold what one lacks
        check_not_empty(metrics, config)
    by_class = images_by_class(label_counts["by class"], names)
    storage.write_json(context.path("images_by_class.json"), by_class)
    boxes_seen = metrics["boxes"]
    ledger = {
        "boxes of the classes that matter": boxes_seen["kept"],
        "boxes of other classes": metrics["rows"]["boxes"] - boxes_seen["kept"] - boxes_seen["unknown class"],
        "boxes of unknown classes": boxes_seen["unknown class"],
    }
    return Result(metrics, ledger)


def check_not_empty(metrics: dict[str, Any], config: TrainingConfig) -> None:
    """Check that there is something to work with.

    Args:
        metrics: Of this stage, of one delivery or of all together.
        config: The run's configuration.

    Raises:
        DataError: A table holds no rows, or none of them is a box of the class to chip.
    """
    for table, rows in metrics["rows"].items():
        if not rows:
            raise DataError(f"The release's table {table} holds no rows.", "Download its CSV files again.")
    if not metrics["boxes"]["chipped"]:
        raise DataError(
            f"The release holds no box of class {config.chip_class!r}.", "Check the files, or the parameter chip_class."
        )


def images_by_class(counted: str | int, names: dict[str, str]) -> list[dict[str, Any]]:
    """Images verified to hold, and not to hold, each class: most positive first.

    Args:
        counted: The observed counter, JSON with items `mid|true` and `mid|false`.
        names: Class name to MID.
    """
    by_mid = {mid: name for name, mid in names.items()}
    counts: dict[str, dict[str, int]] = {}
    for entry in json.loads(counted) if isinstance(counted, str) else []:
        if "item" not in entry:  # of rows without a verdict, whose number is told elsewhere
            continue
        mid, _, positive = entry["item"].partition("|")
        counts.setdefault(mid, {"true": 0, "false": 0})[positive] = entry["count"]
    rows = [
        {"mid": mid, "name": by_mid.get(mid, mid), "positive": count["true"], "negative": count["false"]}
        for mid, count in counts.items()
    ]
    return sorted(rows, key=lambda row: (-row["positive"], row["name"]))


def _check_faults(what: str, counts: dict[str, Any], config: TrainingConfig) -> None:
    if counts["kept invalid"] > config.max_fault_share * counts["kept"]:
        raise DataError(
            f"{counts['kept invalid']} of {counts['kept']} {what} are invalid "
            f"(coordinates outside [0, 1], in the wrong order or no numbers; flags none of 1, 0, -1), for example on "
            f"image {counts['an invalid box']}.",
            "Download the box files again, or raise max_fault_share.",
        )


if __name__ == "__main__":
    main("extract", extract)
