"""chip: cut every labeled face out of its photograph, and decode each photograph once.

Writes the table `chips`, one row per face, with the encoded chip and the columns that evaluation needs. Workers read
the photographs from where they are stored; only the list of faces, grouped by image, moves through Spark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from ml import storage
from ml.config.training import TrainingConfig
from ml.errors import DataError
from ml.features.columns import CARRIED, CHIPS, EDGES, Column, Origin, arrow_schema, ddl, names, of_origin
from ml.flow.records import ChipsRecord, LabelsRecord
from ml.guards import check_count
from ml.release.photographs import Photographs, photograph_name
from ml.vision import images
from ml.workflow.execution import Context, Result
from ml.workflow.manifest import Manifest
from spark_jobs.faces import LABELLED
from spark_jobs.main import main
from spark_jobs.session import Counts, observed, read_table, write_table

CHIPPED = "chipped"
ABSENT, UNREADABLE, TOO_SMALL = REASONS = ("image absent", "image unreadable", "too small")
FAULTS = (ABSENT, UNREADABLE)  # faults of a photograph, which affect all its faces
IMAGES_PER_TASK = 500  # about ten seconds of work: hides the startup cost, and losing a worker costs little
BYTES_PER_CHIP = 20_000  # for the space estimate: measured mean for chips of the largest stored side
FACE_FIELDS = (*names(CARRIED), *EDGES)
# Columns that are counted and then dropped before the table is written; `first` marks one face of each image.
COUNTED = (Column("status", "string", Origin.CHIP), Column("first", "boolean", Origin.CHIP))
SCHEMA = (*CHIPS, *COUNTED, Column("chip", "binary", Origin.CHIP))


@dataclass(frozen=True)
class Image:
    """A photograph with the bounding boxes of the faces to cut out of it.

    Attributes:
        subset: The photograph's subset.
        image_id: The photograph's ImageID.
        rotation: The rotation in degrees that turns it upright, see `ml.vision.images.turn_upright`.
        boxes: The bounding boxes of the faces.
    """

    subset: str
    image_id: str
    rotation: int
    boxes: Sequence[images.Box]


@dataclass(frozen=True)
class Cut:
    """The outcome of cutting one face.

    Attributes:
        status: `CHIPPED`, or one of `REASONS`.
        face_px: The shorter side of the box in pixels of the stored photograph; None if the photograph is unreadable.
        chip: The encoded chip, or None.
    """

    status: str
    face_px: float | None = None
    chip: bytes | None = None


def group_by_image(faces: DataFrame, tasks: int) -> DataFrame:
    """Group the labeled faces into one row per image, spread over `tasks` partitions."""
    return (
        faces.where(F.col("reason") == LABELLED)
        .groupBy("image_id", "subset")
        .agg(F.max("rotation").alias("rotation"), F.sort_array(F.collect_list(F.struct(*FACE_FIELDS))).alias("faces"))
        .repartition(tasks, "image_id")
    )


def cut_chips(by_image: DataFrame, photographs: Photographs, config: TrainingConfig) -> DataFrame:
    """Cut the chips of all images: one row per face, whose `status` is `chipped` or the reason for having no chip."""
    return by_image.mapInArrow(_cutter(photographs, config.margin, config.min_face_size), ddl(SCHEMA))


def _cutter(
    photographs: Photographs, margin: float, min_face_size: int
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the function that Spark's Python workers run over batches of images."""

    def cut(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for subset, image_id, rotation, faces in zip(
                *(batch.column(name).to_pylist() for name in ("subset", "image_id", "rotation")),
                batch.column("faces"),
                strict=True,
            ):
                fields = faces.values
                boxes = list(zip(*(fields.field(edge).to_pylist() for edge in EDGES), strict=True))
                image = Image(subset, image_id, rotation or 0, boxes)
                # One batch per image: the chips of one image are small, so memory use stays low.
                yield _rows(image, fields, cut_image(image, photographs, margin, min_face_size))

    return cut


def _rows(image: Image, faces: pa.StructArray, cuts: Sequence[Cut]) -> pa.RecordBatch:
    """Build the rows of an image's faces, column by column."""
    columns = {column.name: faces.field(column.name) for column in CARRIED}
    columns |= {c.name: pa.array([getattr(image, c.name)] * len(cuts), c.arrow) for c in of_origin(Origin.IMAGE)}
    columns["first"] = pa.array([number == 0 for number in range(len(cuts))], pa.bool_())
    for column in SCHEMA:
        if column.name not in columns:
            columns[column.name] = pa.array([getattr(cut, column.name) for cut in cuts], column.arrow)
    return pa.RecordBatch.from_arrays([columns[column.name] for column in SCHEMA], schema=arrow_schema(SCHEMA))


def cut_image(image: Image, photographs: Photographs, margin: float, min_face_size: int) -> list[Cut]:
    """Read and decode one photograph and cut all its faces into upright chips; the boxes do not change.

    Args:
        image: The photograph and the boxes of its faces.
        photographs: The place that holds the photograph.
        margin: See `ml.vision.images.square`.
        min_face_size: In pixels of the stored photograph.

    Returns:
        The outcome of each face, in the order of the boxes.
    """
    try:
        pixels = images.decode(photographs.read(image.subset, image.image_id))
    except FileNotFoundError:
        return [Cut(ABSENT)] * len(image.boxes)
    except images.UnreadableImageError:
        return [Cut(UNREADABLE)] * len(image.boxes)
    return [_cut_face(pixels, box, image.rotation, margin, min_face_size) for box in image.boxes]


def _cut_face(pixels: images.Pixels, box: images.Box, rotation: int, margin: float, min_face_size: int) -> Cut:
    height, width = pixels.shape[:2]
    face_px = min(images.box_size(box, width, height))
    if face_px < min_face_size:
        return Cut(TOO_SMALL, face_px)
    return Cut(CHIPPED, face_px, images.encode_jpeg(images.cut_chip(pixels, box, margin, rotation)))


def run(spark: SparkSession, context: Context) -> Result:
    """Cut the chips of a delivery's faces; fail if too many photographs are absent or unreadable."""
    labelled, delivery = context.inputs["join_labels"], context.delivery
    assert delivery is not None  # the stage runs once per delivery
    expected = labelled.record(LabelsRecord).asked[delivery.name].faces
    _check_any_labelled(labelled)
    storage.check_space(context.uri, expected * BYTES_PER_CHIP, f"{expected} chips")
    tasks = max(spark.sparkContext.defaultParallelism, expected // IMAGES_PER_TASK)
    faces = read_table(spark, labelled.table("faces")).where(F.col("delivery") == delivery.name)
    photographs = faces.where(F.col("reason") == LABELLED).select("image_id", "subset").distinct().count()
    counts = Observation("chips")
    chips = cut_chips(group_by_image(faces, tasks), context.release.photographs, context.config)
    chips = chips.observe(counts, *(column.alias(name) for name, column in _counts().items()))
    write_table(chips.where(F.col("status") == CHIPPED).drop(*names(COUNTED)), context, "chips")
    seen = observed(counts)
    ledger = {status: seen[status] for status in (CHIPPED, *REASONS)}
    check_count(expected, sum(ledger.values()), "Labeled faces to chip")
    check_count(photographs, seen["images"], "Photographs of labeled faces, each decoded once")
    record = ChipsRecord(images=seen["images"], photograph_faults={fault: seen[f"images.{fault}"] for fault in FAULTS})
    if sum(record.photograph_faults.values()) > context.config.max_fault_share * record.images:
        found = ", ".join(
            f"{count} {fault} (for example {_example(seen, fault)})"
            for fault, count in record.photograph_faults.items()
            if count
        )
        raise DataError(
            f"Too many of the {record.images} photographs at {context.release.photographs.uri} are unusable: {found}.",
            "Download them again, or raise max_fault_share.",
        )
    return Result(record, ledger)


def _check_any_labelled(labelled: Manifest) -> None:
    """Check that at least one face has a label.

    Raises:
        DataError: No face has a label; the message gives the reasons.
    """
    if not labelled.ledger[LABELLED]:
        reasons = ", ".join(f"{count} {reason}" for reason, count in labelled.ledger.items() if count)
        raise DataError(
            f"No face has a label ({reasons or 'the release has no faces'}).", "Check the boxes of the release."
        )


def _example(seen: Counts, fault: str) -> str:
    subset, _, image_id = (seen.text(f"example.{fault}") or "").partition("/")
    return photograph_name(subset, image_id)


def _counts() -> dict[str, SparkColumn]:
    """Return the counts of faces by status, of images, and of images by fault, with an example of each fault."""
    counts = {status: F.count_if(F.col("status") == status) for status in (CHIPPED, *REASONS)}
    counts["images"] = F.count_if(F.col("first"))
    for fault in FAULTS:
        at_fault = F.col("status") == fault
        counts[f"images.{fault}"] = F.count_if(F.col("first") & at_fault)
        counts[f"example.{fault}"] = F.min(F.when(at_fault, F.concat_ws("/", "subset", "image_id")))
    return counts


if __name__ == "__main__":
    main("chip", run)
