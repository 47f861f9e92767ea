"""join_labels: give each face a label, or record the reason why it has none.

Writes the table `faces` with one row per box of the chipped class, repeated boxes included. `reason` is `labelled` or
the reason for having no label, `delivery` is the delivery that holds the photograph. The ledger counts the reasons and
the boxes that a later delivery replaced; its sum is the number of all boxes of the class.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable

from pyspark.sql import Column, DataFrame, Observation, SparkSession, Window
from pyspark.sql import functions as F

from ml.config.training import TrainingConfig
from ml.features.columns import ASKED
from ml.flow.records import Agreement, AskedFaces, ExtractRecord, LabelsRecord
from ml.guards import check_count, check_faults
from ml.release.miap import presentation_labels
from ml.workflow.execution import Context, Result
from spark_jobs.deliveries import count_replaced, locate_photographs, read_current
from spark_jobs.extract import check_not_empty
from spark_jobs.labelling import label_by_box, label_by_image, label_by_miap, lookup
from spark_jobs.main import main
from spark_jobs.session import Counts, observed, write_table

LABELLED = "labelled"
REPLACED = "replaced by a later delivery"
OVER_LIMIT = "over the image limit"
FLAGS = ("is_occluded", "is_truncated", "is_group_of", "is_depiction")
COMPARED = ("box", "image")  # strategies whose labels are compared with MIAP's
# In order of precedence: a face gets the first reason that applies.
REASONS = (
    "invalid box",
    "repeated box",
    "group",
    "depiction",
    "image not listed",
    "no person box",
    "two labels",
    "no image-level label",
    "two image-level labels",
    "contradicted by a verified negative",
    "no MIAP person box",
    "MIAP presentation unknown",
    OVER_LIMIT,
)


def join_labels(
    boxes: DataFrame, labels: DataFrame, images: DataFrame, config: TrainingConfig, miap: DataFrame | None = None
) -> DataFrame:
    """Give each face a label, or the reason why it has none.

    Args:
        boxes: Typed boxes of the configured classes.
        labels: Typed image-level labels of the configured classes.
        images: Typed images.
        config: The run's configuration.
        miap: Typed MIAP boxes; None if the release has none or the labels are not MIAP's presentations. Strategy `miap`
            requires them.

    Returns:
        One row per box of the chipped class, with columns face_id, image_id, subset, rotation, the box with its class
        and flags, label and reason. Strategies `box` and `miap` add the class or presentation of the source box and the
        share of the face that this box contains. With `miap`, the results of each strategy follow: label_by_box,
        label_by_image, miap_label and age_presentation; without, the latter two are NULL.
    """
    faces = _faces(boxes, images)
    found = _apply_strategies(faces.where(F.col("reason").isNull()), boxes, labels, config, miap)
    for name, labeled in found.items():
        columns = [column for column in labeled.columns if column != "row"]
        faces = faces.join(labeled.select("row", F.struct(*columns).alias(name)), "row", "left")
    chosen = config.label_strategy
    faces = faces.withColumn("reason", F.coalesce("reason", f"{chosen}.verdict")).withColumn("label", _label_by(chosen))
    faces = faces.withColumns({name: F.col(f"{chosen}.{name}") for name in ("source_class", "source_containment")})
    if miap is not None:
        faces = faces.withColumns(
            {
                "label_by_box": _label_by("box"),
                "label_by_image": _label_by("image"),
                "miap_label": _label_by("miap"),
                "age_presentation": F.col("miap.age_presentation"),
            }
        )
    else:
        faces = faces.withColumns(dict.fromkeys(("miap_label", "age_presentation"), F.lit(None).cast("string")))
    faces = faces.drop(*found)
    if config.images_per_label is not None:
        faces = limit_images(faces, config.images_per_label)
    return (
        faces.withColumn("reason", F.coalesce("reason", F.lit(LABELLED)))
        .withColumn("label", F.when(F.col("reason") == LABELLED, F.col("label")))
        .drop("row")
    )


def _apply_strategies(
    faces: DataFrame, boxes: DataFrame, labels: DataFrame, config: TrainingConfig, miap: DataFrame | None
) -> dict[str, DataFrame]:
    """Label the faces by the configured strategy, and by all strategies if there are MIAP boxes to compare with."""
    found: dict[str, DataFrame] = {}
    if miap is not None or config.label_strategy == "box":
        found["box"] = label_by_box(faces, boxes, labels, config)
    if miap is not None or config.label_strategy == "image":
        found["image"] = label_by_image(faces, labels)
    if miap is not None:
        found["miap"] = label_by_miap(faces, miap, config)
    return found


def _label_by(strategy: str) -> Column:
    """Return a strategy's label, NULL where the strategy gives a verdict instead."""
    return F.when(F.col(f"{strategy}.verdict").isNull(), F.col(f"{strategy}.label"))


def _faces(boxes: DataFrame, images: DataFrame) -> DataFrame:
    """Join the boxes of the chipped class with their images, and add face ids and the reasons that need no strategy."""
    edges = ("x_min", "x_max", "y_min", "y_max")
    identity = F.sha2(F.concat_ws("|", "subset", "image_id", *edges), 256)
    listed = (
        images.select("image_id", "subset", "rotation")
        .groupBy("image_id", "subset")
        .agg(F.max("rotation").alias("rotation"), F.lit(True).alias("listed"))
    )
    faces = (
        boxes.where("chipped")
        .drop("mid", "label", "chipped")
        .withColumnRenamed("name", "face_class")
        .withColumn("face_id", F.concat_ws("-", "image_id", F.substring(identity, 1, 12)))
        .withColumn("copy", F.row_number().over(Window.partitionBy("face_id").orderBy("source", "is_occluded")))
        .withColumn("row", F.concat_ws("#", "face_id", "copy"))
        .join(listed, ["image_id", "subset"], "left")
    )
    reason = (
        F.when(~F.col("valid"), "invalid box")
        .when(F.col("copy") > 1, "repeated box")
        .when(F.col("is_group_of") == 1, "group")
        .when(F.col("is_depiction") == 1, "depiction")
        .when(F.col("listed").isNull(), "image not listed")
    )
    return faces.withColumn("reason", reason).drop("copy", "listed", "valid", "is_inside")


def limit_images(faces: DataFrame, images_per_label: int) -> DataFrame:
    """Keep at most this many images per label, chosen by the lowest digests of their ids."""
    labelled = F.col("reason").isNull() & F.col("label").isNotNull()
    order = Window.partitionBy("label").orderBy(_image_digest())
    chosen = (
        faces.where(labelled)
        .select("label", "image_id")
        .distinct()
        .withColumn("rank", F.row_number().over(order))
        .where(F.col("rank") <= images_per_label)
        .select("label", "image_id", F.lit(True).alias("chosen"))
    )
    over = F.when(labelled & F.col("chosen").isNull(), OVER_LIMIT)
    return (
        faces.join(chosen, ["label", "image_id"], "left")
        .withColumn("reason", F.coalesce("reason", over))
        .drop("chosen")
    )


def _image_digest() -> Column:
    """Return the digest of an ImageID, salted so that the image limit is independent of the split."""
    return F.sha2(F.concat(F.lit("limit:"), "image_id"), 256)


def run(spark: SparkSession, context: Context) -> Result:
    """Label the faces of `extract`, and count them by reason and by agreement with MIAP."""
    config, source = context.config, context.inputs["extract"]
    extracted = source.record(ExtractRecord)
    check_not_empty(extracted, config)
    tables = {name: read_current(spark, source, name) for name in ("boxes", "labels", "images")}
    covered = extracted.miap.subsets if extracted.miap and presentation_labels(config) else ()
    miap = read_current(spark, source, "miap").drop("delivery") if covered else None
    faces = join_labels(
        tables["boxes"].drop("delivery"), tables["labels"].drop("delivery"), tables["images"], config, miap
    )
    faces = locate_photographs(spark, faces, tables["images"], context.run.deliveries, context.run.root)
    names = [delivery.name for delivery in context.run.deliveries]
    observation = Observation("faces")
    faces = faces.observe(observation, *_counted(config, covered, names))
    write_table(faces.drop("label_by_box", "label_by_image"), context, "faces")
    seen = observed(observation)

    check_faults({fault: seen[fault] for fault in _faults(config)}, context.path("faces"))
    replaced = count_replaced(spark, source)
    check_count(extracted.boxes.chipped - replaced, seen["faces"], f"Faces from boxes of class {config.chip_class!r}")
    record = make_record(seen, config, covered, names)
    asked = sum(part.faces for part in record.asked.values())
    check_count(seen[LABELLED], asked, "Labeled faces with a delivery")
    ledger = {reason: seen[reason] for reason in (LABELLED, *REASONS)}
    return Result(record, ledger | ({REPLACED: replaced} if len(names) > 1 else {}))


def _counted(config: TrainingConfig, covered: Iterable[str], deliveries: Iterable[str]) -> list[Column]:
    """Return all counts that the pass that writes the faces observes."""
    counts = {
        "faces": F.count(F.lit(1)),
        **{reason: F.count_if(F.col("reason") == reason) for reason in (LABELLED, *REASONS)},
        **{f"label.{label}": F.count_if(F.col("label") == label) for label in config.label_order},
        **{f"unknown.{flag}": F.count_if(F.col(flag) == -1) for flag in FLAGS},
        **_agreement(covered),
        **_faults(config),
        **_asked(deliveries),
    }
    return [count.alias(name) for name, count in counts.items()]


def make_record(
    seen: Counts, config: TrainingConfig, covered: Iterable[str], deliveries: Iterable[str]
) -> LabelsRecord:
    """Build the record from the counts.

    Args:
        seen: The counts.
        config: The run's configuration.
        covered: The subsets with MIAP boxes.
        deliveries: The names of the run's deliveries.
    """
    agreement = {
        subset: {
            strategy: Agreement(
                agree=seen[f"{subset}.{strategy}.agree"],
                disagree=seen[f"{subset}.{strategy}.disagree"],
                miap_unknown=seen[f"{subset}.{strategy}.miap unknown"],
            )
            for strategy in COMPARED
        }
        for subset in covered
    }
    return LabelsRecord(
        faces=seen["faces"],
        labelled={label: seen[f"label.{label}"] for label in config.label_order},
        flags_unknown={flag: seen[f"unknown.{flag}"] for flag in FLAGS},
        miap=agreement or None,
        asked={name: AskedFaces(faces=seen[f"asked.{name}"], digest=_digest(seen, name)) for name in deliveries},
    )


def _asked(deliveries: Iterable[str]) -> dict[str, Column]:
    """Return the count of the faces to cut from each delivery's photographs, and two sums of their hashes."""
    counts = {}
    for name in deliveries:
        asked = (F.col("reason") == LABELLED) & (F.col("delivery") == name)
        counts[f"asked.{name}"] = F.count_if(asked)
        for salt in (0, 1):
            # A sum does not depend on order. Decimal, because a sum of 64-bit hashes overflows a long.
            hashed = F.xxhash64(F.lit(salt), *ASKED).cast("decimal(38,0)")
            counts[f"asked.{name}.{salt}"] = F.sum(F.when(asked, hashed))
    return counts


def _digest(seen: Counts, delivery: str) -> str:
    """Return the digest of the faces to cut from a delivery, which is part of the key of its chips."""
    sums = [seen[f"asked.{delivery}{part}"] for part in ("", ".0", ".1")]
    return hashlib.sha256(repr(sums).encode()).hexdigest()[:32]


def _faults(config: TrainingConfig) -> dict[str, Column]:
    """Return the counts of impossible faces: of another class, or with a label that no box explains."""
    faults = {"are of another class": F.count_if(~F.col("face_class").eqNullSafe(config.chip_class))}
    meanings = {"box": config.label_classes, "miap": presentation_labels(config)}.get(config.label_strategy)
    if meanings:
        explained = (F.col("source_containment") >= config.containment) & (
            F.col("label") == lookup("source_class", meanings)
        )
        faults["have a label that no box gives"] = F.count_if(
            F.col("label").isNotNull() & ~F.coalesce(explained, F.lit(False))
        )
    return faults


def _agreement(subsets: Iterable[str]) -> dict[str, Column]:
    """Return the counts of faces labeled by strategies `box` and `image`, by agreement with MIAP."""
    counts = {}
    for subset, strategy in itertools.product(subsets, COMPARED):
        label, miap = F.col(f"label_by_{strategy}"), F.col("miap_label")
        given = (F.col("subset") == subset) & label.isNotNull()
        counts[f"{subset}.{strategy}.agree"] = F.count_if(given & (label == miap))
        counts[f"{subset}.{strategy}.disagree"] = F.count_if(given & (label != miap))
        counts[f"{subset}.{strategy}.miap unknown"] = F.count_if(given & miap.isNull())
    return counts


if __name__ == "__main__":
    main("join_labels", run)
