"""join_labels: give each face a label, or record the reason why it has none.

Writes the table `faces` with one row per box of the chipped class, repeated boxes included. `reason` is `labelled` or
the reason for having no label, `delivery` is the delivery that holds the photograph. The ledger counts the reasons and
the boxes that a later delivery replaced; its sum is the number of all boxes of the class.

All rows of an image come together in one task, which labels them, writes them and returns their counts.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession

from ml import storage
from ml.features.columns import EDGES
from ml.flow.reasons import REPLACED
from ml.flow.records import ExtractRecord
from ml.guards import check_count, check_faults
from ml.release.delivery import HELD
from ml.workflow import layout
from ml.workflow.execution import Context, Result
from ml.workflow.manifest import Manifest
from ml.workflow.views import RunView
from spark_jobs.buckets import Batches, Bucket, Slice, divide, gather, slices_of
from spark_jobs.deliveries import PHOTOGRAPHS
from spark_jobs.extract import check_not_empty
from spark_jobs.face_counts import add_up, count_faces, fault_names, make_record
from spark_jobs.faces import (
    LABELLED,
    REASONS,
    TABLES,
    Labelled,
    highest_allowed,
    label_faces,
    limit_images,
    lowest_digests,
)
from spark_jobs.labelling import LabelSettings
from spark_jobs.main import main


@dataclass(frozen=True)
class Work:
    """What a task does with the tables of a bucket; Spark sends it to its workers.

    Attributes:
        settings: What labelling depends on.
        images_per_label: The image limit.
        uri: The folder of the table `faces`.
        label: Labels the faces of a bucket.
    """

    settings: LabelSettings
    images_per_label: int | None
    uri: str
    label: Callable[[Bucket, LabelSettings], Labelled]

    def label_and_write(self, batches: Batches) -> Iterator[pa.RecordBatch]:
        """Label and write the faces of a bucket; yield their counts."""
        bucket, tables = gather(batches, TABLES)
        if bucket is not None:
            labelled = self.label(tables, self.settings)
            yield self._write(bucket, labelled.faces, labelled.counts)

    def label_only(self, batches: Batches) -> Iterator[pa.RecordBatch]:
        """Label the faces of a bucket; yield them with their counts and each label's lowest digests of images."""
        bucket, tables = gather(batches, TABLES)
        if bucket is not None:
            labelled = self.label(tables, self.settings)
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, labelled.faces.schema) as writer:
                writer.write_table(labelled.faces)
            lowest = lowest_digests(labelled.faces, self.images_per_label or 0)
            yield _row(
                bucket=pa.scalar(bucket, pa.int32()),
                faces=bytes(sink.getvalue()),
                counts=json.dumps(labelled.counts),
                lowest=json.dumps(lowest),
            )

    def limit_and_write(self, allowed: Mapping[str, str], batches: Batches) -> Iterator[pa.RecordBatch]:
        """Apply the image limit to labeled faces and write them; yield their counts.

        Args:
            allowed: The highest digest of an image that each label may keep.
            batches: Rows of `label_only`.
        """
        for batch in batches:
            for row in batch.to_pylist():
                faces = pa.ipc.open_stream(row["faces"]).read_all()
                yield self._write(row["bucket"], limit_images(faces, allowed), json.loads(row["counts"]))

    def _write(self, bucket: int, faces: pa.Table, counts: Mapping[str, int]) -> pa.RecordBatch:
        sink = pa.BufferOutputStream()
        # Ids and edges hardly repeat: to look for repetitions would take longer than all the rest of writing.
        few = [name for name in faces.column_names if name not in ("face_id", "image_id", "source_containment", *EDGES)]
        pq.write_table(faces, sink, use_dictionary=few)
        # The content depends on the bucket alone, so a task that is done twice writes the same file twice.
        storage.write_bytes(storage.join(self.uri, f"part-{bucket:05d}.parquet"), bytes(sink.getvalue()))
        return _row(counts=json.dumps({**counts, **count_faces(faces, self.settings)}))


def _row(**values: object) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({name: pa.array([value]) for name, value in values.items()})


def label_and_count(spark: SparkSession, slices: list[Slice], work: Work) -> DataFrame:
    """Return the counts of each bucket, whose faces are labeled and written when they are collected.

    With an image limit, this labels the faces at once: the limit needs the digests of all images.
    """
    divided = divide(spark, slices)
    if work.images_per_label is None:
        return divided.mapInArrow(work.label_and_write, "counts string")
    labelled = divided.mapInArrow(work.label_only, "bucket int, faces binary, counts string, lowest string").persist()
    found = [json.loads(row.lowest) for row in labelled.select("lowest").collect()]
    allowed = highest_allowed(found, work.images_per_label)
    return labelled.mapInArrow(functools.partial(work.limit_and_write, allowed), "counts string")


def find_slices(extracted: Manifest, run: RunView, settings: LabelSettings) -> list[Slice]:
    """List all rows that labelling needs: the tables of `extract`, and the listings if there are several deliveries."""
    several = len(settings.deliveries) > 1
    names = ["boxes", "labels", "images", *(["miap"] if settings.subsets else []), *([HELD] if several else [])]
    slices = [part for name in names for part in slices_of(name, extracted.table_rows(name), TABLES[name])]
    if several:
        cache = layout.delivery_cache(run.root)
        for delivery in run.deliveries:
            if delivery.listing:
                uri = cache.listing_uri(delivery.listing)
                slices.append(Slice(PHOTOGRAPHS, uri, TABLES[PHOTOGRAPHS], rows=0, delivery=delivery.name))
    return slices


def run(spark: SparkSession, context: Context) -> Result:
    """Label the faces of `extract`, and count them by reason and by agreement with MIAP."""
    config, source = context.config, context.inputs["extract"]
    extracted = source.record(ExtractRecord)
    check_not_empty(extracted, config)
    names = tuple(delivery.name for delivery in context.run.deliveries)
    settings = LabelSettings.of(config, extracted.miap.subsets if extracted.miap else (), names)
    work = Work(settings, config.images_per_label, context.path("faces"), label_faces)
    counted = label_and_count(spark, find_slices(source, context.run, settings), work)
    seen = add_up(json.loads(row.counts) for row in counted.collect())

    check_faults({fault: seen[fault] for fault in fault_names(settings)}, context.path("faces"))
    expected = extracted.boxes.chipped - seen["replaced"]
    check_count(expected, seen["faces"], f"Faces from boxes of class {config.chip_class!r}")
    record = make_record(seen, settings)
    asked = sum(part.faces for part in record.asked.values())
    check_count(seen[LABELLED], asked, "Labeled faces with a delivery")
    ledger = {reason: seen[reason] for reason in (LABELLED, *REASONS)}
    return Result(record, ledger | ({REPLACED: seen["replaced"]} if len(names) > 1 else {}))


if __name__ == "__main__":
    main("join_labels", run)
