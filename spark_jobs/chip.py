"""chip: cut every labeled face out of its photograph, and decode each photograph once.

Writes the table `chips`, one row per face, with the encoded chip and the columns that evaluation needs, in the order of
image and face. Workers read the photographs from where they are stored, and write the chips: only the list of faces and
the counts move through Spark.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from ml import disk, storage
from ml.errors import DataError
from ml.features.columns import ASKED
from ml.flow.records import ChipsRecord, LabelsRecord
from ml.guards import check_count
from ml.photographs.source import Shard, photograph_name
from ml.workflow.execution import Context, Result
from ml.workflow.manifest import Manifest
from spark_jobs.chipping import Chipping, Outcome, chip_part
from spark_jobs.cutting import CHIPPED, FAULTS, REASONS
from spark_jobs.faces import LABELLED
from spark_jobs.main import main
from spark_jobs.shard_chipping import add_up, chip_shard, read_asked

log = logging.getLogger(__name__)
FACES_PER_TASK = 500  # a few seconds of work: hides the cost of a task, and losing a worker costs little
BYTES_PER_CHIP = 20_000  # for the space estimate: measured mean for chips of the largest stored side
ORDER = ("image_id", "subset", "face_id")  # of the table `chips`


def run(spark: SparkSession, context: Context) -> Result:
    """Cut the chips of a delivery's faces; fail if too many photographs are absent or unreadable."""
    labelled, delivery, config = context.inputs["join_labels"], context.delivery, context.config
    assert delivery is not None  # the stage runs once per delivery
    expected = labelled.record(LabelsRecord).asked[delivery.name].faces
    _check_any_labelled(labelled)
    disk.check_space(context.uri, expected * BYTES_PER_CHIP, f"{expected} chips")
    faces = read_faces(labelled.table("faces"), delivery.name)
    chipping = Chipping(context.release.photographs, config.margin, config.min_face_size, context.path("chips"))
    outcome = chip_faces(spark, faces, chipping)
    ledger = {status: outcome.faces[status] for status in (CHIPPED, *REASONS)}
    check_count(expected, sum(ledger.values()), "Labeled faces to chip")
    photographs = faces.group_by(["subset", "image_id"]).aggregate([]).num_rows
    check_count(photographs, outcome.images, "Photographs of labeled faces, each decoded once")
    if outcome.warned:
        log.warning("the decoder warned of %d of %d photographs, which are used", outcome.warned, outcome.images)
    record = ChipsRecord(
        images=outcome.images,
        photograph_faults={fault: outcome.faults[fault] for fault in FAULTS},
        photograph_warnings=outcome.warned,
    )
    if sum(record.photograph_faults.values()) > config.max_fault_share * record.images:
        found = ", ".join(
            f"{count} {fault} (for example {photograph_name(*outcome.examples[fault])})"
            for fault, count in record.photograph_faults.items()
            if count
        )
        raise DataError(
            f"Too many of the {record.images} photographs at {context.release.photographs.uri} are unusable: {found}.",
            "Download them again, or raise max_fault_share.",
        )
    return Result(record, ledger)


def read_faces(uris: Iterable[str], delivery: str) -> pa.Table:
    """Read the labeled faces of a delivery in the order of the table `chips`.

    There are about a million of them in the whole data set, which is little beside one photograph for each. Spark's own
    plan for reading, dividing and sorting them takes longer than this for any number of them.
    """
    wanted = [("reason", "=", LABELLED), ("delivery", "=", delivery)]
    parts = []
    for uri in uris:
        fs, path = storage.filesystem(uri)
        parts.append(pq.read_table(path, filesystem=fs, columns=list(ASKED), filters=wanted))
    return pa.concat_tables(parts).sort_by([(name, "ascending") for name in ORDER])


def divide(faces: pa.Table, faces_per_task: int = FACES_PER_TASK) -> Iterator[pa.Table]:
    """Divide the faces into tasks: each image in one of them, and the same tasks on any machine."""
    images = faces.column("image_id").combine_chunks()
    starts = [0, *(pc.indices_nonzero(pc.not_equal(images[1:], images[:-1])).to_numpy() + 1), len(images)]
    start = 0
    for end in starts[1:]:
        if end - start >= faces_per_task or end == len(images):
            yield faces.slice(start, end - start)
            start = end


def chip_faces(spark: SparkSession, faces: pa.Table, chipping: Chipping) -> Outcome:
    """Cut the faces on Spark's workers, and return the counts.

    An RDD without a DataFrame around it: the plans of SQL that would only move the bytes of the tasks along take ten
    seconds of the JVM's time, as long as 1,500 photographs do (docs/decisions/0012-photographs.md).
    """
    if len(faces) and (shards := chipping.photographs.shards()):
        return _chip_shards(spark, faces, chipping, shards)
    tasks = [(number, _stream(part)) for number, part in enumerate(divide(faces))]
    outcome = Outcome()
    if tasks:
        work = spark.sparkContext.parallelize(tasks, len(tasks))
        for done in work.map(lambda task: chip_part(*task, chipping)).collect():
            outcome.add(done)
    return outcome


def _chip_shards(spark: SparkSession, faces: pa.Table, chipping: Chipping, shards: Sequence[Shard]) -> Outcome:
    """Cut the faces on photographs that are packed into shards, each of which is a task."""
    context, stream = spark.sparkContext, _stream(faces)
    asked = context.broadcast(stream)
    try:
        work = context.parallelize(list(enumerate(shards)), len(shards))
        done = work.map(lambda task: chip_shard(*task, asked.value, chipping)).collect()
    finally:
        asked.destroy()
    return add_up(done, read_asked(stream), chipping.photographs.uri)


def _stream(table: pa.Table) -> bytes:
    buffer = pa.BufferOutputStream()
    with pa.ipc.new_stream(buffer, table.schema) as stream:
        stream.write_table(table)
    return bytes(buffer.getvalue().to_pybytes())


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


if __name__ == "__main__":
    main("chip", run)
