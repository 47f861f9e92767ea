"""The strategies that label faces: by person box, by image, or by MIAP box.

Each strategy returns one row per face: `row`, `label`, `verdict` (the reason for having no label, NULL if there is
one), and the source of the label, `source_class` and `source_containment`.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from ml.config.training import TrainingConfig
from ml.release.miap import UNKNOWN, presentation_labels


def label_by_box(faces: DataFrame, boxes: DataFrame, labels: DataFrame, config: TrainingConfig) -> DataFrame:
    """Label each face by the person boxes that contain it.

    A box qualifies if it is of a label's class, is neither a group nor a depiction (a flag of -1, unknown, does not
    disqualify it), and contains at least the configured share of the face. If boxes of two labels qualify, the face
    gets no label. Otherwise the smallest box is the source, unless its class is a verified negative on the image.
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
    """Label each face by the gender presentation of the MIAP person box that contains it.

    Boxes qualify as in `label_by_box`. If boxes of both presentations qualify, the face gets no label. Otherwise the
    smallest box is the source and also gives the age presentation. If its gender presentation is unknown, the face gets
    no label.
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
    """Give each face the verified label of its image, or no label if both labels are verified."""
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
    """Return the condition that a box is valid and, as far as the flags are known, neither a group nor a depiction."""
    return F.col("valid") & (F.col("is_group_of") != 1) & (F.col("is_depiction") != 1)


def lookup(column: str, values: Mapping[str, str]) -> Column:
    """Look up a column's value in a mapping; the result is NULL where the mapping lacks it."""
    return F.coalesce(*(F.when(F.col(column) == key, value) for key, value in values.items()))


def _sources(faces: DataFrame, people: DataFrame, about: Column, least: float) -> DataFrame:
    """Find the person boxes that contain each face: the number of their labels, one label, and the smallest box.

    Args:
        faces: The faces to label.
        people: Person boxes with a column `label`, which may be NULL.
        about: The columns to return about the smallest box.
        least: Share of the face that a box must contain, in [0, 1].

    Returns:
        Only the faces that a box contains: row, image_id, labels, label, and source_box with `person.about` and `held`.
    """
    edges = ("x_min", "x_max", "y_min", "y_max")
    area = (F.col("x_max") - F.col("x_min")) * (F.col("y_max") - F.col("y_min"))
    # Structs compare by their first field, the area; the other fields make the choice among equal areas reproducible.
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
    """Return the share of a face's area that the box `person` contains, in [0, 1]."""

    def overlap(low: str, high: str) -> Column:
        reach = F.least(F.col(high), F.col(f"person.{high}")) - F.greatest(F.col(low), F.col(f"person.{low}"))
        return F.greatest(F.lit(0.0), reach)

    area = (F.col("x_max") - F.col("x_min")) * (F.col("y_max") - F.col("y_min"))
    return overlap("x_min", "x_max") * overlap("y_min", "y_max") / area
