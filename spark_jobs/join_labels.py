"""join_labels: one row a face: its box, its label, how it got it, or why it has none.

Table written: `faces`, every box of the chipped class once or as often as the release repeats it, each with `reason`:
`labelled`, or why not. The ledger counts the reasons and adds up to all boxes of the class.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Observation, SparkSession, Window
from pyspark.sql import functions as F

from ml.config import RunConfig
from ml.stages import Context, Result
from spark_jobs.job import main, observed, read_table, write_table

LABELLED = "labelled"
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
    "over the image limit",
)


def join_labels(boxes: DataFrame, labels: DataFrame, images: DataFrame, config: RunConfig) -> DataFrame:
    """Give each face a label, or the reason why it has none.

    Args:
        boxes: Typed boxes of the configured classes.
        labels: Typed image-level labels of the configured classes.
        images: Typed images.
        config: The run's configuration.

    Returns:
        One row a box of the chipped class, with columns face_id, image_id, subset, rotation, the box and its flags,
        label, reason, and for strategy `box` the source box's class and share of the face it holds.
    """
    faces = _faces(boxes, images)
    usable = faces.where(F.col("reason").isNull())
    found = (
        label_by_box(usable, boxes, labels, config)
        if config.label_strategy == "box"
        else label_by_image(usable, labels)
    )
    faces = faces.join(found, "row", "left").withColumn("reason", F.coalesce("reason", "verdict")).drop("verdict")
    if config.images_per_label is not None:
        faces = _limit(faces, config.images_per_label)
    return (
        faces.withColumn("reason", F.coalesce("reason", F.lit(LABELLED)))
        .withColumn("label", F.when(F.col("reason") == LABELLED, F.col("label")))
        .drop("row")
    )


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
        .drop("mid", "name", "label", "chipped")
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


def label_by_box(faces: DataFrame, boxes: DataFrame, labels: DataFrame, config: RunConfig) -> DataFrame:
    """Label each face by the person boxes that hold it.

    Every box of a label's class, neither group nor depiction, that holds at least the configured share of the face is a
    candidate; a flag of -1 (unknown) keeps it. Candidates of two labels leave the face without one, whatever their
    sizes; otherwise the smallest is the source, and a verified negative of its own class on the image vetoes it.
    """
    people = boxes.where(
        F.col("label").isNotNull() & F.col("valid") & (F.col("is_group_of") != 1) & (F.col("is_depiction") != 1)
    ).select(
        "image_id",
        "subset",
        "label",
        F.struct(
            ((F.col("x_max") - F.col("x_min")) * (F.col("y_max") - F.col("y_min"))).alias("area"),
            *("name", "mid", "x_min", "x_max", "y_min", "y_max"),
        ).alias("person"),
    )
    held = containment()
    candidates = (
        faces.select("row", "image_id", "subset", "x_min", "x_max", "y_min", "y_max")
        .join(people, ["image_id", "subset"])
        .withColumn("held", held)
        .where(F.col("held") >= config.containment)
    )
    sources = candidates.groupBy("row", "image_id").agg(
        F.count_distinct("label").alias("labels"),
        F.min("label").alias("label"),
        # The first field of the structure is the area; the others make the choice among equals the same each time.
        F.min(F.struct("person", "held")).alias("source_box"),
    )
    vetoes = labels.where(~F.col("positive")).select("image_id", "mid", F.lit(True).alias("vetoed"))
    found = sources.withColumn("mid", F.col("source_box.person.mid")).join(vetoes, ["image_id", "mid"], "left")
    found = found.select(
        "row",
        "label",
        F.when(F.col("labels") > 1, "two labels")
        .when(F.col("vetoed"), "contradicted by a verified negative")
        .alias("verdict"),
        F.col("source_box.person.name").alias("source_class"),
        F.col("source_box.held").alias("source_containment"),
    )
    unlabelled = F.when(F.col("label").isNull(), "no person box")
    return faces.select("row").join(found, "row", "left").withColumn("verdict", F.coalesce("verdict", unlabelled))


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
    # Salted, so that this choice has nothing to do with that of the split.
    order = Window.partitionBy("label").orderBy(F.sha2(F.concat(F.lit("limit:"), "image_id"), 256))
    chosen = (
        faces.where(labelled)
        .select("label", "image_id")
        .distinct()
        .withColumn("rank", F.row_number().over(order))
        .where(F.col("rank") <= images_per_label)
        .select("label", "image_id", F.lit(True).alias("chosen"))
    )
    over = F.when(labelled & F.col("chosen").isNull(), "over the image limit")
    return (
        faces.join(chosen, ["label", "image_id"], "left")
        .withColumn("reason", F.coalesce("reason", over))
        .drop("chosen")
    )


def run(spark: SparkSession, context: Context) -> Result:
    """Join the tables of `extract` and count every face by reason."""
    tables = {name: read_table(spark, context.inputs["extract"].table(name)) for name in ("boxes", "labels", "images")}
    faces = join_labels(tables["boxes"], tables["labels"], tables["images"], context.config)
    counts = Observation("faces")
    unknown = ("is_occluded", "is_truncated", "is_group_of", "is_depiction")
    faces = faces.observe(
        counts,
        F.count(F.lit(1)).alias("faces"),
        *(F.count_if(F.col("reason") == reason).alias(reason) for reason in (LABELLED, *REASONS)),
        *(F.count_if(F.col("label") == label).alias(f"label.{label}") for label in context.config.label_order),
        *(F.count_if(F.col(flag) == -1).alias(f"unknown.{flag}") for flag in unknown),
    )
    write_table(faces, context, "faces")
    seen = observed(counts)
    metrics = {
        "faces": seen["faces"],
        "labelled": {label: seen[f"label.{label}"] for label in context.config.label_order},
        "flags unknown": {flag: seen[f"unknown.{flag}"] for flag in unknown},
    }
    return Result(metrics, {reason: seen[reason] for reason in (LABELLED, *REASONS)})


if __name__ == "__main__":
    main("join_labels", run)
