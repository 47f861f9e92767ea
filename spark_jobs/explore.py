"""explore: count and plot what the release holds, from the tables of `extract`.

Writes `explore.json`, one PNG per analysis, and `contact_sheet.png`, a few photographs with their boxes.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence

from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from ml import storage
from ml.config.training import TrainingConfig
from ml.flow.records import (
    Analyses,
    ClassCount,
    Credit,
    Exploration,
    ExploreRecord,
    FaceSizes,
    FlagCounts,
    VerifiedImages,
)
from ml.release.contract import FLAGS
from ml.report.figures import exploration as exploration_figures
from ml.report.subject import subject
from ml.vision import drawing, images
from ml.workflow.execution import Context, Result
from ml.workflow.manifest import Manifest
from ml.workflow.views import RunView
from spark_jobs.annotations import flag_column
from spark_jobs.deliveries import read_current
from spark_jobs.main import main

TOP_CLASSES = 10
SAMPLE = 12
COLUMNS = 4
SIZE_EDGES = (0, 1, 2, 4, 6, 8, 10, 15, 20, 30, 40, 60, 100)  # percent of the photograph's side; most faces are small


def classes_of_all(extracted: Manifest) -> list[ClassCount]:
    """Count for each class the images verified positive and negative over all deliveries, most positive first.

    An image in several deliveries counts once per delivery: `extract` keeps only the rows of configured classes, so for
    the other classes the replaced rows are unknown.
    """
    found: dict[str, ClassCount] = {}
    for part in extracted.of_deliveries():
        for row in storage.read_json(part.file("images_by_class.json")):
            count = ClassCount.model_validate(row)
            if known := found.get(count.mid):
                count = known.model_copy(
                    update={"positive": known.positive + count.positive, "negative": known.negative + count.negative}
                )
            found[count.mid] = count
    return sorted(found.values(), key=lambda row: (-row.positive, row.name))


def verified_images(labels: DataFrame, config: TrainingConfig) -> list[VerifiedImages]:
    """Count for each label the images whose labels are all verified positive, and those with a verified negative.

    Only images verified for the chipped class and for a class of the label count, as in the notebook's second analysis.
    The report calls the two groups good and bad, which describes their labels, not the pictures: a negative means that
    a person verified a class as absent.
    """

    def verified(name: str) -> Column:
        # Rows may repeat or contradict one another: a class counts as present if no row says that it is absent.
        return F.coalesce(F.bool_and(F.when(F.col("name") == name, F.col("positive"))), F.lit(False))

    by_image = labels.groupBy("image_id").agg(
        F.bool_or(F.col("name") == config.chip_class).alias("chipped"),
        F.bool_and("positive").alias("good"),
        *(
            functools.reduce(Column.__or__, map(verified, config.labels[label])).alias(label)
            for label in config.label_order
        ),
    )
    counts = by_image.where("chipped").agg(
        *(
            F.count_if(F.col(label) & (F.col("good") == good)).alias(f"{label}.{good}")
            for label in config.label_order
            for good in (True, False)
        )
    )
    row = counts.first()
    assert row is not None  # an aggregate without groups has one row
    return [
        VerifiedImages(label=label, all_positive=row[f"{label}.True"], with_a_negative=row[f"{label}.False"])
        for label in config.label_order
    ]


def faces_per_image(boxes: DataFrame) -> dict[int, int]:
    """Map the number of boxes of the chipped class on an image to the number of such images."""
    per_image = boxes.where(F.col("chipped") & F.col("valid")).groupBy("image_id").agg(F.count("*").alias("faces"))
    return {row.faces: row["count"] for row in per_image.groupBy("faces").count().orderBy("faces").collect()}


def face_sizes(boxes: DataFrame) -> FaceSizes:
    """Count the faces by the longer side of their box as a percentage of the photograph's side."""
    longer = 100 * F.greatest(F.col("x_max") - F.col("x_min"), F.col("y_max") - F.col("y_min"))
    counts = boxes.where(F.col("chipped") & F.col("valid")).agg(
        *(F.count_if((longer > low) & (longer <= high)) for low, high in itertools.pairwise(SIZE_EDGES))
    )
    return FaceSizes(edges=SIZE_EDGES, faces=tuple(counts.first() or ()))


def boxes_by_source(boxes: DataFrame) -> list[FlagCounts]:
    """Count the boxes of all configured classes by source and by the value of each flag: 1, 0 or -1 (unknown)."""
    flags = [flag_column(flag) for flag in FLAGS]
    counts = [F.count_if(F.col(flag) == value).alias(f"{flag}.{value}") for flag in flags for value in (1, 0, -1)]
    rows = boxes.groupBy("source").agg(*counts).orderBy("source").collect()
    return [
        FlagCounts(source=row.source, flag=name, yes=row[f"{flag}.1"], no=row[f"{flag}.0"], unknown=row[f"{flag}.-1"])
        for row in rows
        for name, flag in zip(FLAGS, flags, strict=True)
    ]


def sample_images(boxes: DataFrame, table: DataFrame) -> list[Row]:
    """Choose a few images with the chipped class, always the same, with their boxes and their credits."""
    chosen = (
        boxes.where(F.col("chipped") & F.col("valid"))
        .select("image_id", "subset")
        .distinct()
        .orderBy(F.sha2(F.concat(F.lit("sample:"), "image_id"), 256))
        .limit(SAMPLE)
    )
    grouped = (
        boxes.where("valid")
        .join(F.broadcast(chosen), ["image_id", "subset"])
        .groupBy("image_id", "subset")
        .agg(F.sort_array(F.collect_list(F.struct("name", "label", "x_min", "x_max", "y_min", "y_max"))).alias("boxes"))
    )
    return table.join(F.broadcast(grouped), ["image_id", "subset"]).orderBy("image_id").collect()


def draw_sample(sample: Iterable[Row], run: RunView, config: TrainingConfig) -> bytes | None:
    """Draw upright photographs with their boxes on a contact sheet, or return None if no photograph can be read."""
    pictures = []
    for image in sample:
        try:
            photo = images.decode(run.read_photograph(image.subset, image.image_id))
        except (FileNotFoundError, images.UnreadableImageError):
            continue  # stage chip counts these
        marks = [_mark(box, photo, config) for box in image.boxes]
        drawn = drawing.draw_marks(photo, marks)
        pictures.append((images.turn_upright(drawn, image.rotation or 0), image.image_id))
    if not pictures:
        return None
    return images.encode_png(drawing.contact_sheet(pictures, COLUMNS, tile=320))


def _mark(box: Row, photo: images.Pixels, config: TrainingConfig) -> drawing.Mark:
    height, width = photo.shape[:2]
    colors = dict(zip(config.label_order, drawing.PALETTE, strict=False))
    rectangle = drawing.rectangle((box.x_min, box.x_max, box.y_min, box.y_max), width, height)
    return drawing.Mark(rectangle, box.name, colors.get(box.label, drawing.PALETTE[2]))


def analyze(tables: Mapping[str, DataFrame], classes: Sequence[ClassCount], config: TrainingConfig) -> Analyses:
    """Run all analyses of the release.

    Args:
        tables: The tables labels and boxes of extract.
        classes: All classes, the most frequent first.
        config: The run's configuration.
    """
    boxes = tables["boxes"]
    return Analyses(
        top_classes=tuple(classes[:TOP_CLASSES]),
        verified_images=tuple(verified_images(tables["labels"], config)),
        faces_per_image=faces_per_image(boxes),
        face_sizes=face_sizes(boxes),
        boxes_by_source=tuple(boxes_by_source(boxes)),
    )


def draw_charts(found: Analyses, config: TrainingConfig) -> dict[str, bytes]:
    """Draw a chart of each analysis and return the PNGs by name."""
    return {
        "top_classes": exploration_figures.top_classes(
            [(row.name, row.positive, row.negative) for row in found.top_classes]
        ),
        "verified_images": exploration_figures.verified_images(
            [(row.label, row.all_positive, row.with_a_negative) for row in found.verified_images], subject(config)
        ),
        "faces_per_image": exploration_figures.faces_per_image(found.faces_per_image, config.chip_class),
        "face_sizes": exploration_figures.face_sizes(SIZE_EDGES, found.face_sizes.faces, config.chip_class),
        "boxes_by_source": exploration_figures.boxes_by_source(
            [(row.source, row.flag, row.yes, row.no, row.unknown) for row in found.boxes_by_source],
            f"{config.chip_class} and labels' classes",
        ),
    }


def run(spark: SparkSession, context: Context) -> Result:
    """Analyze the release and write the results and charts."""
    config, source = context.config, context.inputs["extract"]
    tables = {name: read_current(spark, source, name) for name in ("labels", "boxes", "images")}
    found = analyze(tables, classes_of_all(source), config)
    sample = sample_images(tables["boxes"], tables["images"])
    charts = draw_charts(found, config)
    if sheet := draw_sample(sample, context.run, config):
        charts["contact_sheet"] = sheet
    for name, png in charts.items():
        storage.write_bytes(context.path(f"{name}.png"), png)
    credits = tuple(Credit(**{name: image[name] for name in Credit.model_fields}) for image in sample)
    shown = Exploration(**found.model_dump(), photographs_shown=credits)
    storage.write_json(context.path("explore.json"), shown.json_values())
    plots = {name: context.path(f"{name}.png") for name in charts}
    return Result(ExploreRecord(**found.model_dump(), plots=plots))


if __name__ == "__main__":
    main("explore", run)
