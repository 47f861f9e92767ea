"""join_labels: one row a face: its box, its label, how it got it, or why it has none.

Table written: `faces`, every box of the chipped class once or as often as the release repeats it, each with `reason`:
`labelled`, or why not, and the `delivery` whose photograph shows it. The ledger counts the reasons, with the boxes that
a later delivery replaces, and adds up to all boxes of the class.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from pyspark.sql import Column, DataFrame, Observation, SparkSession, Window
from pyspark.sql import functions as F

from ml.config.training import TrainingConfig
from ml.errors import ProvenanceError
from ml.features.columns import ASKED
from ml.guards import check_count, check_faults
from ml.release.miap import UNKNOWN, presentation_labels
from ml.workflow.execution import Context, Result
from spark_jobs.deliveries import count_replaced, locate_photographs, read_current
from spark_jobs.extract import check_not_empty
from spark_jobs.job import main, observed, write_table

LABELLED = "labelled"
REPLACED = "replaced by a later delivery"
OVER_LIMIT = "over the image limit"
# In the order in which they are looked at: a face has the first that fits.
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
        miap: Typed MIAP boxes; None where the release has none, or the labels are not MIAP's presentations. Strategy
            `miap` needs them.

    Returns:
        One row a box of the chipped class, with columns face_id, image_id, subset, rotation, the box with its class and
        flags, label and reason, and label_before_limit, which the faces over the image limit have too; for strategies
        `box` and `miap` the source box's class or presentation, and the share of the face it holds. With `miap`, also
        what each strategy says of the face: label_by_box, label_by_image, miap_label and age_presentation; without, the
        latter two are NULL.
    """
    faces = _faces(boxes, images)
    usable = faces.where(F.col("reason").isNull())
    found: dict[str, DataFrame] = {}
    if miap is not None or config.label_strategy == "box":
        found["box"] = label_by_box(usable, boxes, labels, config)
    if miap is not None or config.label_strategy == "image":
        found["image"] = label_by_image(usable, labels)
    if miap is not None:
        found["miap"] = label_by_miap(usable, miap, config)
    for name, said in found.items():
        columns = [column for column in said.columns if column != "row"]
        faces = faces.join(said.select("row", F.struct(*columns).alias(name)), "row", "left")
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
        faces = _limit(faces, config.images_per_label)
    return (
        faces.withColumn("reason", F.coalesce("reason", F.lit(LABELLED)))
        .withColumn("label_before_limit", F.col("label"))
        .withColumn("label", F.when(F.col("reason") == LABELLED, F.col("label")))
        .drop("row")
    )


def _label_by(strategy: str) -> Column:
    """The label that a strategy gives, NULL where it gives a verdict instead."""
    return F.when(F.col(f"{strategy}.verdict").isNull(), F.col(f"{strategy}.label"))


def _faces(boxes: DataFrame, images: DataFrame) -> DataFrame:
    """The boxes of the chipped class with their images, an id, and the reasons that the box itself gives."""
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


def label_by_box(faces: DataFrame, boxes: DataFrame, labels: DataFrame, config: TrainingConfig) -> DataFrame:
    """Label each face by the person boxes that hold it.

    Every box of a label's class, neither group nor depiction, that holds at least the configured share of the face is a
    candidate; a flag of -1 (unknown) keeps it. Candidates of two labels leave the face without one, whatever their
    sizes; otherwise the smallest is the source, and a verified negative of its own class on the image vetoes it.
    """
    people = boxes.where(F.col("label").isNotNull() & _one_person())
    sources = _sources(faces, people, F.struct("name", "mid"), config.containment)
    vetoes = labels.where(~F.col("positive")).select("image_id", "mid", F.lit(True).alias("vetoed"))
    found = sources.withColumn("mid", F.col("source_box.person.about.mid")).join(vetoes, ["image_id", "mid"], "left")
    found = found.select(
        "row",
        "label",
        F.when(F.col("labels") > 1, "two labels")
        .when(F.col("vetoed"), "contradicted by a verified negative")
        .alias("verdict"),
        F.col("source_box.person.about.name").alias("source_class"),
        F.col("source_box.held").alias("source_containment"),
    )
    unlabelled = F.when(F.col("label").isNull(), "no person box")
    return faces.select("row").join(found, "row", "left").withColumn("verdict", F.coalesce("verdict", unlabelled))


def label_by_miap(faces: DataFrame, miap: DataFrame, config: TrainingConfig) -> DataFrame:
    """Label each face by the gender presentation of the MIAP person box that holds it.

    Candidates are chosen as by `label_by_box`. Those of both presentations leave the face without a label; otherwise
    the smallest is the source, and gives the face its age presentation too, but no label where annotators could not
    tell the gender presentation.
    """
    words = presentation_labels(config) or {}
    people = miap.withColumn("label", _lookup("gender_presentation", words)).where(_one_person())
    sources = _sources(faces, people, F.struct("gender_presentation", "age_presentation"), config.containment)
    about = F.col("source_box.person.about")
    found = sources.select(
        "row",
        F.col("label"),
        F.when(F.col("labels") > 1, "two labels")
        .when(about.gender_presentation == UNKNOWN, "MIAP presentation unknown")
        .alias("verdict"),
        about.gender_presentation.alias("source_class"),
        F.col("source_box.held").alias("source_containment"),
        F.when(F.col("labels") <= 1, about.age_presentation).alias("age_presentation"),
    )
    return (
        faces.select("row")
        .join(found, "row", "left")
        .withColumn("verdict", F.coalesce("verdict", F.when(F.col("source_class").isNull(), "no MIAP person box")))
    )


def _one_person() -> Column:
    """Whether a box is one real person's: valid, neither group nor depiction; a flag of -1 (unknown) keeps it."""
    return F.col("valid") & (F.col("is_group_of") != 1) & (F.col("is_depiction") != 1)


def _lookup(column: str, values: Mapping[str, str]) -> Column:
    """The value that a mapping has for a column, NULL where it has none."""
    return F.coalesce(*(F.when(F.col(column) == key, value) for key, value in values.items()))


def _sources(faces: DataFrame, people: DataFrame, about: Column, least: float) -> DataFrame:
    """For each face the number of labels among the person boxes that hold it, one of these, and the smallest box.

    Args:
        faces: The faces to label.
        people: Person boxes with a column `label`; a NULL is no label.
        about: What is to be known of the smallest box.
        least: Share of the face that a box must hold, in [0, 1].

    Returns:
        Only the faces that some box holds: row, image_id, labels, label, and source_box with `person.about` and `held`.
    """
    edges = ("x_min", "x_max", "y_min", "y_max")
    area = (F.col("x_max") - F.col("x_min")) * (F.col("y_max") - F.col("y_min"))
    # The smallest structure is that with the smallest area, its first field; the others make the choice among equals
    # the same each time.
    person = F.struct(area.alias("area"), about.alias("about"), *edges).alias("person")
    return (
        faces.select("row", "image_id", "subset", *edges)
        .join(people.select("image_id", "subset", "label", person), ["image_id", "subset"])
        .withColumn("held", containment())
        .where(F.col("held") >= least)
        .groupBy("row", "image_id")
        .agg(
            F.count_distinct("label").alias("labels"),
            F.min("label").alias("label"),
            F.min(F.struct("person", "held")).alias("source_box"),
        )
    )


def containment() -> Column:
    """The share of a face's area that the box `person` holds, in [0, 1]."""

    def overlap(low: str, high: str) -> Column:
        reach = F.least(F.col(high), F.col(f"person.{high}")) - F.greatest(F.col(low), F.col(f"person.{low}"))
        return F.greatest(F.lit(0.0), reach)

    area = (F.col("x_max") - F.col("x_min")) * (F.col("y_max") - F.col("y_min"))
    return overlap("x_min", "x_max") * overlap("y_min", "y_max") / area


def label_by_image(faces: DataFrame, labels: DataFrame) -> DataFrame:
    """Give each face the label that its image is verified to hold; an image that holds both leaves it without one."""
    by_image = (
        labels.where(F.col("label").isNotNull() & F.col("positive"))
        .groupBy("image_id")
        .agg(F.count_distinct("label").alias("labels"), F.min("label").alias("label"))
    )
    verdict = F.when(F.col("labels").isNull(), "no image-level label").when(
        F.col("labels") > 1, "two image-level labels"
    )
    return (
        faces.select("row", "image_id")
        .join(by_image, "image_id", "left")
        .select(
            "row",
            "label",
            verdict.alias("verdict"),
            F.lit(None).cast("string").alias("source_class"),
            F.lit(None).cast("double").alias("source_containment"),
        )
    )


def _limit(faces: DataFrame, images_per_label: int) -> DataFrame:
    """Keep, for each label, the faces of so many images: those whose ids have the lowest digests."""
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
    """Of the ImageID; salted, so that the image limit has nothing to do with the split."""
    return F.sha2(F.concat(F.lit("limit:"), "image_id"), 256)


def run(spark: SparkSession, context: Context) -> Result:
    """Join the tables of `extract` and count every face by reason, and by what MIAP says of its label."""
    config, source = context.config, context.inputs["extract"]
    check_not_empty(source.metrics, config)
    tables = {name: read_current(spark, source, name) for name in ("boxes", "labels", "images")}
    covered = source.metrics["miap"]["subsets"] if "miap" in source.metrics and presentation_labels(config) else []
    miap = read_current(spark, source, "miap").drop("delivery") if covered else None
    faces = join_labels(
        tables["boxes"].drop("delivery"), tables["labels"].drop("delivery"), tables["images"], config, miap
    )
    faces = locate_photographs(spark, faces, tables["images"], context.run.deliveries, context.run.root)
    names = [delivery.name for delivery in context.run.deliveries]
    counts = Observation("faces")
    unknown = ("is_occluded", "is_truncated", "is_group_of", "is_depiction")
    faces = faces.observe(
        counts,
        F.count(F.lit(1)).alias("faces"),
        *(F.count_if(F.col("reason") == reason).alias(reason) for reason in (LABELLED, *REASONS)),
        *(F.count_if(F.col("label") == label).alias(f"label.{label}") for label in config.label_order),
        *(F.count_if(F.col(flag) == -1).alias(f"unknown.{flag}") for flag in unknown),
        *(count.alias(name) for name, count in (_agreement(covered) | _faults(config) | _asked(names)).items()),
        *(digest.alias(name) for name, digest in _ends(config).items()),
    )
    write_table(faces.drop("label_by_box", "label_by_image", "label_before_limit"), context, "faces")
    seen = observed(counts)
    _check_sample(seen, config)
    check_faults({fault: seen[fault] for fault in _faults(config)}, context.path("faces"))
    chipped, replaced = source.metrics["boxes"]["chipped"], count_replaced(spark, source)
    check_count(chipped - replaced, seen["faces"], f"Boxes of class {config.chip_class!r} that became faces")
    asked = {name: {"faces": seen[f"asked.{name}"], "digest": _digest(seen, name)} for name in names}
    check_count(seen[LABELLED], sum(part["faces"] for part in asked.values()), "Labelled faces asked of the deliveries")
    metrics = {
        "faces": seen["faces"],
        "labelled": {label: seen[f"label.{label}"] for label in config.label_order},
        "flags unknown": {flag: seen[f"unknown.{flag}"] for flag in unknown},
        "miap": {
            subset: {
                strategy: {said: seen[f"{subset}.{strategy}.{said}"] for said in ("agree", "disagree", "miap unknown")}
                for strategy in ("box", "image")
            }
            for subset in covered
        }
        or None,
        "asked": asked,
    }
    ledger = {reason: seen[reason] for reason in (LABELLED, *REASONS)}
    return Result(metrics, ledger | ({REPLACED: replaced} if len(names) > 1 else {}))


def _asked(deliveries: Iterable[str]) -> dict[str, Column]:
    """The number of faces that are to be cut from each delivery's photographs, and two sums of hashes of them."""
    counts = {}
    for name in deliveries:
        asked = (F.col("reason") == LABELLED) & (F.col("delivery") == name)
        counts[f"asked.{name}"] = F.count_if(asked)
        for salt in (0, 1):
            # A sum knows no order. As decimal: some billion faces' sums of 64 bits overflow nothing.
            hashed = F.xxhash64(F.lit(salt), *ASKED).cast("decimal(38,0)")
            counts[f"asked.{name}.{salt}"] = F.sum(F.when(asked, hashed))
    return counts


def _digest(seen: Mapping[str, int], delivery: str) -> str:
    """The digest of the faces asked of a delivery, under which its chips are kept."""
    sums = [int(seen[f"asked.{delivery}{part}"]) for part in ("", ".0", ".1")]
    return hashlib.sha256(repr(sums).encode()).hexdigest()[:32]


def _faults(config: TrainingConfig) -> dict[str, Column]:
    """Counts of the faces that cannot be: of another class, or labelled by no box where boxes are to give the label."""
    faults = {"are of another class": F.count_if(~F.col("face_class").eqNullSafe(config.chip_class))}
    meanings = {"box": config.label_classes, "miap": presentation_labels(config)}.get(config.label_strategy)
    if meanings:
        explained = (F.col("source_containment") >= config.containment) & (
            F.col("label") == _lookup("source_class", meanings)
        )
        faults["have a label that no box gives"] = F.count_if(
            F.col("label").isNotNull() & ~F.coalesce(explained, F.lit(False))
        )
    return faults


def _ends(config: TrainingConfig) -> dict[str, Column]:
    """For each label the last digest of an image that is kept, and the first of one that is over the limit."""
    ends = {}
    for label in config.label_order:
        here = F.col("label_before_limit") == label
        ends[f"kept.{label}"] = F.max(F.when(here & (F.col("reason") == LABELLED), _image_digest()))
        ends[f"over.{label}"] = F.min(F.when(here & (F.col("reason") == OVER_LIMIT), _image_digest()))
    return ends


def _check_sample(seen: Mapping[str, Any], config: TrainingConfig) -> None:
    """Check that the images kept of each label are the first ones by digest, so that each run keeps the same.

    Raises:
        ProvenanceError: One is kept that comes after one that is not.
    """
    for label in config.label_order:
        kept, over = seen[f"kept.{label}"], seen[f"over.{label}"]
        if kept and over and kept >= over:  # 0 where there is none
            raise ProvenanceError(
                f"The images kept of label {label!r} are not those with the lowest digests of their ids, by which "
                f"images_per_label = {config.images_per_label} chooses: another run would keep others.",
                "Nothing that is learned from them could be repeated.",
            )


def _agreement(subsets: Iterable[str]) -> dict[str, Column]:
    """Counts of the faces that strategies `box` and `image` label, by whether MIAP gives the same label."""
    counts = {}
    for subset, strategy in itertools.product(subsets, ("box", "image")):
        label, miap = F.col(f"label_by_{strategy}"), F.col("miap_label")
        given = (F.col("subset") == subset) & label.isNotNull()
        counts[f"{subset}.{strategy}.agree"] = F.count_if(given & (label == miap))
        counts[f"{subset}.{strategy}.disagree"] = F.count_if(given & (label != miap))
        counts[f"{subset}.{strategy}.miap unknown"] = F.count_if(given & miap.isNull())
    return counts


if __name__ == "__main__":
    main("join_labels", run)
