"""chip: cut every labeled face out of its photograph, and decode each photograph once.

Writes the table `chips`, one row per face, with the encoded chip and the columns that evaluation needs. Workers read
the photographs from where they are stored; only the list of faces, grouped by image, moves through Spark.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from ml import storage
from ml.config.training import TrainingConfig
from ml.errors import DataError
from ml.features.columns import ASKED, CARRIED, CHIPS, EDGES, Column, Origin, arrow_schema, ddl, names, of_origin
from ml.flow.records import ChipsRecord, LabelsRecord
from ml.guards import check_count
from ml.release.photographs import Photographs, photograph_name
from ml.release.read_ahead import read_ahead
from ml.workflow.execution import Context, Result
from ml.workflow.manifest import Manifest
from spark_jobs.cutting import CHIPPED, FAULTS, REASONS, Cut, Image, cut_image
from spark_jobs.join_labels import LABELLED
from spark_jobs.main import main
from spark_jobs.session import Counts, observed, read_table, write_table

FACES_PER_TASK = 500  # a few seconds of work: hides the cost of a task, and losing a worker costs little
BYTES_PER_CHIP = 20_000  # for the space estimate: measured mean for chips of the largest stored side
BYTES_PER_BATCH = 4 << 20  # of chips in a record batch, of which a worker and the JVM hold a few
IMAGE_FIELDS = names(of_origin(Origin.IMAGE))
# Columns that are counted and then dropped before the table is written; `first` marks one face of each image.
COUNTED = (Column("status", "string", Origin.CHIP), Column("first", "boolean", Origin.CHIP))
CHIP = Column("chip", "binary", Origin.CHIP)
SCHEMA = (*CHIPS, *COUNTED, CHIP)


def sort_by_image(faces: DataFrame, tasks: int) -> DataFrame:
    """Spread the labeled faces over `tasks` partitions, each image in one of them, in an order that is always the same.

    The number of partitions must not depend on the machine, so that the same faces give the same files.
    """
    return (
        faces.where(F.col("reason") == LABELLED)
        .select(*ASKED)
        .repartition(tasks, "image_id")
        .sortWithinPartitions("image_id", "subset", "face_id", *EDGES)
    )


def cut_chips(sorted_faces: DataFrame, photographs: Photographs, config: TrainingConfig) -> DataFrame:
    """Cut the chips of all images: one row per face, whose `status` is `chipped` or the reason for having no chip."""
    return sorted_faces.mapInArrow(_cutter(photographs, config.margin, config.min_face_size), ddl(SCHEMA))


def _cutter(
    photographs: Photographs, margin: float, min_face_size: int
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the function that Spark's Python workers run over batches of faces."""

    def read(faces: Faces) -> bytes:
        return photographs.read(faces.image.subset, faces.image.image_id)

    def cut(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        cv2.setNumThreads(1)  # Spark runs one worker per core
        done: list[tuple[Faces, list[Cut]]] = []
        size = 0
        for faces, content in read_ahead(by_image(batches), read):
            cuts = cut_image(faces.image, content, margin, min_face_size)
            done.append((faces, cuts))
            size += sum(len(made.chip or b"") for made in cuts)
            if size > BYTES_PER_BATCH:
                yield _rows(done)
                done, size = [], 0
        if done:
            yield _rows(done)

    return cut


@dataclass(frozen=True)
class Faces:
    """The faces of an image: the photograph with their boxes, and their rows."""

    image: Image
    rows: pa.RecordBatch


def by_image(batches: Iterable[pa.RecordBatch]) -> Iterator[Faces]:
    """Yield the faces of each image; the rows of an image follow each other, perhaps in several batches."""
    held: list[pa.RecordBatch] = []
    held_image: tuple[str, str] | None = None
    for batch in batches:
        ids = zip(batch.column("subset").to_pylist(), batch.column("image_id").to_pylist(), strict=True)
        start = 0
        for image, group in itertools.groupby(ids):
            rows = batch.slice(start, sum(1 for _ in group))
            start += rows.num_rows
            if held and image != held_image:
                yield _faces(held)
                held = []
            held.append(rows)
            held_image = image
    if held:
        yield _faces(held)


def _faces(parts: Sequence[pa.RecordBatch]) -> Faces:
    rows = parts[0] if len(parts) == 1 else pa.concat_batches(parts)
    subset, image_id, rotation = (rows.column(name)[0].as_py() for name in ("subset", "image_id", "rotation"))
    boxes = list(zip(*(rows.column(edge).to_pylist() for edge in EDGES), strict=True))
    return Faces(Image(subset, image_id, rotation or 0, boxes), rows)


def _rows(done: Sequence[tuple[Faces, Sequence[Cut]]]) -> pa.RecordBatch:
    """Build the rows of some images' faces, column by column."""
    rows = pa.concat_batches([faces.rows for faces, _ in done])
    cuts = [cut for _, made in done for cut in made]
    columns = {name: rows.column(name) for name in (*names(CARRIED), *IMAGE_FIELDS)}
    columns["rotation"] = columns["rotation"].fill_null(0)
    columns["first"] = pa.array([number == 0 for _, made in done for number in range(len(made))], pa.bool_())
    for column in SCHEMA:
        if column.name not in columns:
            columns[column.name] = pa.array([getattr(cut, column.name) for cut in cuts], column.arrow)
    return pa.RecordBatch.from_arrays([columns[column.name] for column in SCHEMA], schema=arrow_schema(SCHEMA))


def run(spark: SparkSession, context: Context) -> Result:
    """Cut the chips of a delivery's faces; fail if too many photographs are absent or unreadable."""
    labelled, delivery = context.inputs["join_labels"], context.delivery
    assert delivery is not None  # the stage runs once per delivery
    expected = labelled.record(LabelsRecord).asked[delivery.name].faces
    _check_any_labelled(labelled)
    storage.check_space(context.uri, expected * BYTES_PER_CHIP, f"{expected} chips")
    tasks = -(-expected // FACES_PER_TASK)
    faces = read_table(spark, labelled.table("faces")).where(F.col("delivery") == delivery.name)
    photographs = count_photographs(labelled.table("faces"), delivery.name)
    counts = Observation("chips")
    chips = cut_chips(sort_by_image(faces, tasks), context.release.photographs, context.config)
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


def count_photographs(faces: Iterable[str], delivery: str) -> int:
    """Count the photographs of a delivery's labeled faces, apart from Spark and from how it divides the work."""
    wanted = [("reason", "=", LABELLED), ("delivery", "=", delivery)]
    found = []
    for uri in faces:
        fs, path = storage.filesystem(uri)
        found.append(pq.read_table(path, filesystem=fs, columns=["subset", "image_id"], filters=wanted))
    return pa.concat_tables(found).group_by(["subset", "image_id"]).aggregate([]).num_rows


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
