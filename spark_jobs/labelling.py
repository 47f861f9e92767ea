"""The ways to label faces: by the person box, the image, or the MIAP box that holds them.

Each strategy gives one row a face that it is asked about: `row`, `label`, `verdict` (why the face has no label, NULL
where it has one), and what the label comes from, `source_class` and `source_containment`.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from ml.config.training import TrainingConfig
from ml.release.miap import UNKNOWN, presentation_labels


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
    people = miap.withColumn("label", lookup("gender_presentation", words)).where(_one_person())
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


def _one_person() -> Column:
    """Whether a box is one real person's: valid, neither group nor depiction; a flag of -1 (unknown) keeps it."""
    return F.col("valid") & (F.col("is_group_of") != 1) & (F.col("is_depiction") != 1)


def lookup(column: str, values: Mapping[str, str]) -> Column:
    """Look a column's value up in a mapping; NULL where it is not there."""
    return F.coalesce(*(F.when(F.col(column) == key, value) for key, value in values.items()))


def _sources(faces: DataFrame, people: DataFrame, about: Column, least: float) -> DataFrame:
    """Find for each face the number of labels of the person boxes that hold it, one of these, and the smallest box.

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
    """Compute the share of a face's area that the box `person` holds, in [0, 1]."""

    def overlap(low: str, high: str) -> Column:
        reach = F.least(F.col(high), F.col(f"person.{high}")) - F.greatest(F.col(low), F.col(f"person.{low}"))
        return F.greatest(F.lit(0.0), reach)

    area = (F.col("x_max") - F.col("x_min")) * (F.col("y_max") - F.col("y_min"))
    return overlap("x_min", "x_max") * overlap("y_min", "y_max") / area
