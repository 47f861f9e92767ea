"""Execute the stages of a run, those on Spark in one session, and make small tables to test their transforms."""

import csv
import hashlib
import importlib
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq

from ml import storage
from ml.config.training import TrainingConfig
from ml.features.columns import EDGES
from ml.flow.table import STAGES
from ml.photographs.source import SUBSETS
from ml.vision import images
from ml.workflow.execution import run_stage
from spark_jobs import chip, extract, faces, featurize, join_labels
from spark_jobs.faces import TABLES, label_faces
from spark_jobs.labelling import LabelSettings
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


def box(image, name, edges, group=0, depiction=0, valid=True, source="xclick", **others):
    """A row of the table `boxes`."""
    flags = {"is_occluded": 0, "is_truncated": 0, "is_group_of": group, "is_depiction": depiction}
    row = {"image_id": image, "subset": "train", "mid": MIDS[name], "source": source, "name": name, "valid": valid}
    row |= dict(zip(EDGES, edges, strict=True)) | flags | {"label": LABELS.get(name), "chipped": name == "Human face"}
    return {**row, "delivery": "release", **others}


FACE, PERSON, ELSEWHERE = (0.4, 0.5, 0.1, 0.2), (0.3, 0.6, 0.0, 0.9), (0.7, 0.9, 0.0, 0.9)


def whole_images(boxes, verdicts=(), listed=("a", "b", "c", "d"), miap=(), **others):
    """Tables of whole images: boxes, pairs of image, class and verdict, listed images, and MIAP boxes."""
    release = {"subset": "train", "delivery": "release"}
    rows = {
        "boxes": boxes,
        "labels": [
            {"image_id": image, "mid": MIDS[name], "label": LABELS.get(name), "positive": positive, **release}
            for image, name, positive in verdicts
        ],
        "images": [{"image_id": image, "rotation": 90, **release} for image in listed],
        "miap": [{**row, **release} for row in miap],
        **others,
    }
    return {name: pa.Table.from_pylist(list(rows.get(name, ())), schema) for name, schema in TABLES.items()}


def settings(miap=False, deliveries=("release",), **values):
    return LabelSettings.of(TrainingConfig(**values), SUBSETS if miap else (), tuple(deliveries))


def joined(boxes, verdicts=(), listed=("a", "b", "c", "d"), miap=None, images_per_label=None, **values):
    """The faces of some boxes, as join_labels labels them."""
    tables = whole_images(boxes, verdicts, listed, miap or ())
    found = label_faces(tables, settings(miap is not None, **values)).faces
    return [SimpleNamespace(**row) for row in limited([found], images_per_label)[0].to_pylist()]


def limited(buckets, images_per_label):
    """The faces of each bucket after the image limit."""
    if images_per_label is None:
        return buckets
    allowed = faces.highest_allowed([faces.lowest_digests(b, images_per_label) for b in buckets], images_per_label)
    return [faces.limit_images(bucket, allowed) for bucket in buckets]


def key(image, *edges):
    return (image, *(round(float(edge), 6) for edge in edges))


def whole(photo):
    """Return whether a photograph can be decoded."""
    try:
        return images.decode(photo.read_bytes()) is not None
    except images.UnreadableImageError:
        return False


def tables_of(extracted):
    """The tables of extract, as join_labels reads them."""
    tables = {
        name: pa.concat_tables([schema.empty_table(), *(read_columns(uri, schema) for uri in extracted.table(name))])
        for name, schema in TABLES.items()
    }
    return {name: table.combine_chunks() for name, table in tables.items()}


def read_columns(uri, schema):
    return pq.read_table(storage.local_path(uri), columns=schema.names).cast(schema)


def labelled_images(tables, images_per_label=None, **values):
    """Return the images that join_labels keeps for each label, as pairs of label and image."""
    (found,) = limited([label_faces(tables, settings(**values)).faces], images_per_label)
    rows = found.select(["label", "image_id"]).to_pylist()
    return {(row["label"], row["image_id"]) for row in rows if row["label"]}


def check_lowest_digests(everything, kept, images_per_label):
    """Check that the pairs of label and image that are kept have the lowest image digests."""
    for label in {label for label, _ in everything}:
        by_digest = sorted(
            (image for name, image in everything if name == label),
            key=lambda image: hashlib.sha256(f"limit:{image}".encode()).hexdigest(),
        )
        found = {image for name, image in kept if name == label}
        assert found == set(by_digest[:images_per_label]), f"{label}: not the images with the lowest digests"
