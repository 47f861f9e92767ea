"""extract: type and check the annotation files of a delivery, and keep the rows of the configured classes.

Writes the tables `classes`, `labels`, `boxes`, `images`, `miap` if the delivery has MIAP files, and `held` if the
delivery is dated. `held` lists the images that have rows in the delivery, so that a later delivery can replace the rows
of an earlier one. The pass that writes the kept rows also counts all rows: nulls by column, images by class.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from ml import storage
from ml.config.training import TrainingConfig
from ml.errors import DataError
from ml.flow.records import BoxCounts, ClassCount, ExtractRecord, ImageCounts, LabelCounts, MiapCounts, NullCounts
from ml.release.miap import PERSON, UNKNOWN
from ml.release.release import Release, read_classes
from ml.workflow.execution import Context, Result
from spark_jobs.annotations import read_csv, type_boxes, type_images, type_labels, type_miap
from spark_jobs.deliveries import HELD, images_held
from spark_jobs.main import main
from spark_jobs.session import Counts, observed, read_table, write_table

PRESENTED = ["gender_presentation", "age_presentation"]
NULL_KINDS = ("null", "empty", "nan")
# The sketch counts (class, verdict) pairs exactly while it has room for all of them. The 19,994 classes of all
# image-level labels, with two verdicts each, fill less than half of it.
CLASS_COUNTER_ROOM = 131_072


@dataclass(frozen=True)
class Observed:
    """A table with the counts of all its rows, taken in the pass that writes the kept rows.

    Attributes:
        rows: The kept rows, or all rows.
        observation: The counts, available once the rows are written.
    """

    rows: DataFrame
    observation: Observation

    def counts(self) -> Counts:
        """Return the counts once the pass has finished."""
        return observed(self.observation)


def run(spark: SparkSession, context: Context) -> Result:
    """Read, type, check and count the files of a delivery, and keep the rows of the configured classes."""
    config, release, delivery = context.config, context.release, context.delivery
    assert delivery is not None  # the stage runs once per delivery
    names = read_classes(release)
    storage.write_bytes(context.path("classes", "part-0.parquet"), class_table(names, config))
    classes = F.broadcast(read_table(spark, [context.path("classes", "part-0.parquet")]))
    raw = {table: observe_raw(read_csv(spark, uris), table) for table, uris in release.tables.items()}
    kept = {
        "labels": keep_labels(raw["labels"].rows, classes),
        "boxes": keep_boxes(raw["boxes"].rows, classes),
        **({"miap": keep_people(raw["miap"].rows)} if "miap" in raw else {}),
        "images": observe_images(raw["images"].rows),
    }
    for table, part in kept.items():
        write_table(part.rows.withColumn("delivery", F.lit(delivery.name)), context, table)
    if delivery.date:
        write_held(spark, context, delivery.name)

    counts = {table: part.counts() for table, part in kept.items()}
    check_invalid("boxes of the configured classes", counts["boxes"], config)
    if "miap" in counts:
        check_invalid("MIAP boxes", counts["miap"], config)
    record = make_record(raw, counts, release)
    if len(context.run.deliveries) == 1:  # with several, another delivery may hold what this one lacks
        check_not_empty(record, config)
    by_class = images_by_class(counts["labels"].text("by class"), names)
    storage.write_json(context.path("images_by_class.json"), [row.json_values() for row in by_class])
    return Result(record, box_ledger(record))


# --- reading and typing


def class_table(names: dict[str, str], config: TrainingConfig) -> bytes:
    """Return the table `classes` as Parquet bytes, with columns mid, name, label (or NULL) and chipped."""
    columns = {
        "mid": pa.array(names.values(), pa.string()),
        "name": pa.array(names.keys(), pa.string()),
        "label": pa.array([config.label_classes.get(name) for name in names], pa.string()),
        "chipped": pa.array([name == config.chip_class for name in names], pa.bool_()),
    }
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), buffer)
    return bytes(buffer.getvalue())


def null_counts(columns: Iterable[str]) -> list[Column]:
    """Return, for each column, the counts of NULL (an absent field), of empty or blank, and of NaN values."""
    counts = []
    for name in columns:
        text = F.trim(F.col(f"`{name}`"))
        counts += [
            F.count_if(F.col(f"`{name}`").isNull()).alias(f"null.{name}"),
            F.count_if(text == "").alias(f"empty.{name}"),
            F.count_if(F.lower(text) == "nan").alias(f"nan.{name}"),
        ]
    return counts


def observe_raw(raw: DataFrame, table: str) -> Observed:
    """Count the rows of a raw table, and its null, empty and NaN values."""
    observation = Observation(f"raw {table}")
    count = F.count(F.lit(1)).alias("rows")
    return Observed(raw.observe(observation, count, *null_counts(_published(raw))), observation)


def _published(raw: DataFrame) -> list[str]:
    """List the published columns of a table; `subset` comes from the file's name."""
    return [name for name in raw.columns if name != "subset"]


def _wanted() -> Column:
    """Return the condition that a row is of a configured class."""
    return F.col("label").isNotNull() | F.col("chipped")


def keep_labels(raw: DataFrame, classes: DataFrame) -> Observed:
    """Type and count the image-level labels, and keep those of the configured classes that have a verdict."""
    observation = Observation("labels")
    labels = (
        type_labels(raw)
        .join(classes, "mid", "left")
        .observe(
            observation,
            F.count_if(F.col("rows") > 1).alias("repeated"),
            F.count_if(F.col("positive").isNull()).alias("no verdict"),
            F.count_if(F.col("name").isNull()).alias("unknown class"),
            F.to_json(
                F.expr(f"approx_top_k(concat(mid, '|', positive), {CLASS_COUNTER_ROOM // 2}, {CLASS_COUNTER_ROOM})")
            ).alias("by class"),
        )
        .where(_wanted() & F.col("positive").isNotNull())
    )
    return Observed(labels.select("image_id", "subset", "mid", "name", "label", "positive"), observation)


def keep_boxes(raw: DataFrame, classes: DataFrame) -> Observed:
    """Type and count the boxes, and keep those of the configured classes."""
    observation = Observation("boxes")
    boxes = (
        type_boxes(raw)
        .join(classes, "mid", "left")
        .observe(
            observation,
            F.count_if(F.col("name").isNull()).alias("unknown class"),
            F.count_if(~F.col("valid")).alias("invalid"),
            F.count_if(_wanted()).alias("kept"),
            F.count_if(_wanted() & ~F.col("valid")).alias("kept invalid"),
            F.count_if(F.col("chipped")).alias("chipped"),
            F.min(F.when(~F.col("valid"), F.concat_ws(" ", "subset", "image_id", "name"))).alias("an invalid box"),
        )
    )
    return Observed(boxes.where(_wanted()), observation)


def keep_people(raw: DataFrame) -> Observed:
    """Type and count MIAP's boxes, and keep those of persons."""
    observation = Observation("miap")
    person = F.col("mid") == PERSON
    people = type_miap(raw).observe(
        observation,
        F.count_if(person).alias("kept"),
        F.count_if(person & ~F.col("valid")).alias("kept invalid"),
        *(F.count_if(person & F.col(name).isNull()).alias(f"no {name}") for name in PRESENTED),
        F.min(F.when(~F.col("valid"), F.concat_ws(" ", "subset", "image_id"))).alias("an invalid box"),
    )
    return Observed(people.where(person).drop("mid").fillna(UNKNOWN, PRESENTED), observation)


def observe_images(raw: DataFrame) -> Observed:
    """Type, count and keep all images."""
    observation = Observation("images")
    images = type_images(raw).observe(
        observation,
        F.count_if(F.col("rotation").isNull()).alias("rotation unknown"),
        F.count_if(F.col("rotation") > 0).alias("turned"),
    )
    return Observed(images, observation)


def write_held(spark: SparkSession, context: Context, delivery: str) -> None:
    """Write the table `held`: the images that have rows in each table of a dated delivery."""
    held = [
        images_held(read_csv(spark, uris).withColumn("delivery", F.lit(delivery)), table)
        for table, uris in context.release.tables.items()
    ]
    write_table(functools.reduce(DataFrame.unionByName, held), context, HELD)


# --- counting


def make_record(raw: Mapping[str, Observed], counts: Mapping[str, Counts], release: Release) -> ExtractRecord:
    """Build the record from the counts.

    Args:
        raw: The raw tables.
        counts: The counts of the typed tables.
        release: The delivery's files.
    """
    as_read = {table: part.counts() for table, part in raw.items()}
    labels, boxes, images = counts["labels"], counts["boxes"], counts["images"]
    return ExtractRecord(
        rows={table: seen["rows"] for table, seen in as_read.items()},
        nulls={
            table: {
                column: NullCounts(**{kind: seen[f"{kind}.{column}"] for kind in NULL_KINDS})
                for column in _published(raw[table].rows)
            }
            for table, seen in as_read.items()
        },
        labels=LabelCounts(
            repeated=labels["repeated"], no_verdict=labels["no verdict"], unknown_class=labels["unknown class"]
        ),
        boxes=BoxCounts(
            unknown_class=boxes["unknown class"],
            invalid=boxes["invalid"],
            kept=boxes["kept"],
            kept_invalid=boxes["kept invalid"],
            chipped=boxes["chipped"],
        ),
        images=ImageCounts(rotation_unknown=images["rotation unknown"], turned=images["turned"]),
        miap=miap_counts(counts["miap"], as_read["miap"]["rows"], release) if "miap" in counts else None,
    )


def miap_counts(people: Counts, rows: int, release: Release) -> MiapCounts:
    """Build the counts of MIAP's boxes; `rows` is their total."""
    return MiapCounts(
        subsets=tuple(release.tables["miap"]),
        other_classes=rows - people["kept"],
        kept=people["kept"],
        kept_invalid=people["kept invalid"],
        no_gender_presentation=people["no gender_presentation"],
        no_age_presentation=people["no age_presentation"],
    )


def box_ledger(record: ExtractRecord) -> dict[str, int]:
    """Count all boxes by kind of class: configured, other or unknown."""
    boxes = record.boxes
    return {
        "boxes of the classes that matter": boxes.kept,
        "boxes of other classes": record.rows["boxes"] - boxes.kept - boxes.unknown_class,
        "boxes of unknown classes": boxes.unknown_class,
    }


def images_by_class(counted: str | None, names: dict[str, str]) -> list[ClassCount]:
    """Count for each class the images verified positive and negative, most positive first.

    Args:
        counted: The observed counter: JSON with items `mid|true` and `mid|false`; None if there were no rows.
        names: Class name to MID.
    """
    by_mid = {mid: name for name, mid in names.items()}
    counts: dict[str, dict[str, int]] = {}
    for entry in json.loads(counted) if counted else []:
        if "item" not in entry:  # rows without a verdict: `keep_labels` counts them
            continue
        mid, _, positive = entry["item"].partition("|")
        counts.setdefault(mid, {"true": 0, "false": 0})[positive] = entry["count"]
    rows = [
        ClassCount(mid=mid, name=by_mid.get(mid, mid), positive=count["true"], negative=count["false"])
        for mid, count in counts.items()
    ]
    return sorted(rows, key=lambda row: (-row.positive, row.name))


# --- checking


def check_not_empty(record: ExtractRecord, config: TrainingConfig) -> None:
    """Check that no table is empty and that there are faces.

    Args:
        record: The counts of one delivery, or of all deliveries together.
        config: The run's configuration.

    Raises:
        DataError: A table has no rows, or no box is of the chipped class.
    """
    for table, rows in record.rows.items():
        if not rows:
            raise DataError(f"Table {table} of the release has no rows.", "Download its CSV files again.")
    if not record.boxes.chipped:
        raise DataError(
            f"The release has no box of class {config.chip_class!r}.", "Check the files, or the parameter chip_class."
        )


def check_invalid(what: str, counts: Counts, config: TrainingConfig) -> None:
    """Check that the share of invalid boxes is at most `max_fault_share`.

    Raises:
        DataError: The share is larger.
    """
    if counts["kept invalid"] > config.max_fault_share * counts["kept"]:
        raise DataError(
            f"{counts['kept invalid']} of {counts['kept']} {what} are invalid "
            f"(coordinates outside [0, 1], in the wrong order or not numeric, or flags other than 1, 0, -1), for "
            f"example on image {counts.text('an invalid box')}.",
            "Download the box files again, or raise max_fault_share.",
        )


if __name__ == "__main__":
    main("extract", run)
