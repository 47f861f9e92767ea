"""Execute the stages of a run, those on Spark in one session, and make small tables to test their transforms."""

import csv
import hashlib
import importlib

from ml.config.training import TrainingConfig
from ml.flow.table import STAGES
from ml.vision import images
from ml.workflow.execution import run_stage
from spark_jobs import chip, extract, featurize, join_labels
from spark_jobs.session import read_table

BODIES = {
    "extract": extract.run,
    "join_labels": join_labels.run,
    "chip": chip.run,
    "featurize": featurize.run,
}


MIDS = {"Human face": "/m/0dzct", "Man": "/m/04yx4", "Woman": "/m/03bt1vf", "Boy": "/m/01bl7v", "Girl": "/m/05r655"}


LABELS = {"Man": "male", "Boy": "male", "Woman": "female", "Girl": "female"}


def do(spark, run, *stages):
    for name in stages:
        run_stage(run, STAGES[name], body_of(spark, STAGES[name]))
    return run


def body_of(spark, stage):
    """The body of a stage, as a function of the context alone."""
    if stage.engine == "spark":
        return lambda context: BODIES[stage.name](spark, context)
    module, _, name = stage.body.partition(":")
    return getattr(importlib.import_module(module), name)


def rows(spark, run, stage, table):
    return [row.asDict() for row in read_table(spark, run.pinned(stage).table(table)).collect()]


def truth_of(release):
    with (release / "truth.csv").open() as file:
        return list(csv.DictReader(file))


BOX_SCHEMA = (
    "image_id string, subset string, source string, mid string, "
    "x_min double, x_max double, y_min double, y_max double, "
    "is_occluded tinyint, is_truncated tinyint, is_group_of tinyint, is_depiction tinyint, is_inside tinyint, "
    "valid boolean, name string, label string, chipped boolean"
)


def box(image, name, edges, group=0, depiction=0, valid=True, source="xclick"):
    return (
        *(image, "train", source, MIDS[name], *edges, 0, 0, group, depiction, 0, valid, name),
        *(LABELS.get(name), name == "Human face"),
    )


FACE, PERSON, ELSEWHERE = (0.4, 0.5, 0.1, 0.2), (0.3, 0.6, 0.0, 0.9), (0.7, 0.9, 0.0, 0.9)


def joined(spark, boxes, verdicts=(), listed=("a", "b", "c", "d"), miap=None, **values):
    labels = spark.createDataFrame(
        [(image, "train", MIDS[name], name, LABELS.get(name), positive) for image, name, positive in verdicts],
        "image_id string, subset string, mid string, name string, label string, positive boolean",
    )
    listing = spark.createDataFrame([(i, "train", 90) for i in listed], "image_id string, subset string, rotation int")
    table = spark.createDataFrame(boxes, BOX_SCHEMA)
    faces = join_labels.join_labels(table, labels, listing, TrainingConfig(**values), miap)
    return faces.orderBy("image_id", "face_id").collect()


def key(image, *edges):
    return (image, *(round(float(edge), 6) for edge in edges))


def whole(photo):
    """Return whether a photograph can be decoded."""
    try:
        return images.decode(photo.read_bytes()) is not None
    except images.UnreadableImageError:
        return False


def labelled_images(spark, extracted, **values):
    """Return the images that join_labels keeps for each label, as pairs of label and image."""
    tables = [read_table(spark, extracted.table(name)) for name in ("boxes", "labels", "images")]
    faces = join_labels.join_labels(*tables, TrainingConfig(**values))
    return {(row.label, row.image_id) for row in faces.where("label IS NOT NULL").collect()}


def check_lowest_digests(everything, kept, images_per_label):
    """Check that the pairs of label and image that are kept have the lowest image digests."""
    for label in {label for label, _ in everything}:
        by_digest = sorted(
            (image for name, image in everything if name == label),
            key=lambda image: hashlib.sha256(f"limit:{image}".encode()).hexdigest(),
        )
        found = {image for name, image in kept if name == label}
        assert found == set(by_digest[:images_per_label]), f"{label}: not the images with the lowest digests"
