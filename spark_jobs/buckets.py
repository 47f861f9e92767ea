"""Divide tables by image into buckets: one exchange brings all rows of an image, from every table, to one task.

Rows do not pass through the JVM one by one. A task reads a slice of a Parquet file with Arrow, splits it by the hash of
the ImageID, and hands Spark one row per bucket, with the slice's rows of that bucket as an Arrow stream. The number of
buckets follows from the number of rows alone, so that the files are the same on any number of cores.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession

from ml import storage
from spark_jobs.hashing import hash_texts

ROWS_PER_BUCKET = 250_000
ROWS_PER_SLICE = 250_000
DIVIDED = "bucket int, table string, rows binary"

Batches = Iterable[pa.RecordBatch]
Bucket = Mapping[str, pa.Table]  # the tables of some images, by name


@dataclass(frozen=True)
class Slice:
    """A part of a table's Parquet file.

    Attributes:
        table: The table's name.
        uri: The file.
        schema: The columns to read.
        rows: The number of rows, about; a file may have fewer row groups than parts.
        part: Which part of the file this is, from 0.
        parts: The number of parts that the file is read in.
        delivery: The delivery, to add it as a column to a file without one.
    """

    table: str
    uri: str
    schema: pa.Schema
    rows: int
    part: int = 0
    parts: int = 1
    delivery: str | None = None

    def read(self) -> Iterator[pa.Table]:
        """Read the part's row groups, some rows at a time; text stays dictionary-encoded, except for the ImageID."""
        names = [name for name in self.schema.names if not (self.delivery and name == "delivery")]
        texts = [name for name in names if self.schema.field(name).type == pa.string() and name != "image_id"]
        with _open(self.uri) as file:
            parquet = pq.ParquetFile(file, read_dictionary=texts)
            first, last = (parquet.num_row_groups * part // self.parts for part in (self.part, self.part + 1))
            for batch in parquet.iter_batches(ROWS_PER_SLICE, range(first, last), names, use_threads=False):
                rows = pa.Table.from_batches([batch])
                if self.delivery:
                    rows = rows.append_column("delivery", pa.repeat(self.delivery, len(rows)).dictionary_encode())
                yield rows


def _open(uri: str) -> AbstractContextManager[Any]:
    """Open a file; from a local disk, Arrow reads it without a detour through Python."""
    if path := storage.local_path(uri):
        return pa.memory_map(str(path))  # type: ignore[no-any-return]
    return storage.open_read(uri)


def slices_of(table: str, files: Mapping[str, int], schema: pa.Schema) -> list[Slice]:
    """Divide a table's files into slices.

    Args:
        table: The table's name.
        files: The number of rows of each file, by URI.
        schema: The columns to read.
    """
    slices = []
    for uri, rows in files.items():
        parts = max(1, round(rows / ROWS_PER_SLICE))
        slices += [Slice(table, uri, schema, rows // parts, part, parts) for part in range(parts)]
    return slices


def divide(spark: SparkSession, slices: Iterable[Slice]) -> DataFrame:
    """Return the rows of all slices in one partition per bucket, for `gather`."""
    tasks = pack(slices)
    rows = sum(part.rows for task in tasks for part in task)
    buckets = max(1, round(rows / ROWS_PER_BUCKET))

    def split(batches: Batches) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for task in batch.column("id").to_pylist():
                for part in tasks[task]:
                    for read in part.read():
                        yield split_rows(part.table, read, buckets)

    divided = spark.range(0, len(tasks), 1, len(tasks)).mapInArrow(split, DIVIDED)
    return divided.repartitionById(buckets, divided.bucket)


def pack(slices: Iterable[Slice]) -> list[list[Slice]]:
    """Collect slices into tasks of about `ROWS_PER_SLICE` rows: a small run has one task."""
    tasks: list[list[Slice]] = [[]]
    rows = 0
    for part in slices:
        if tasks[-1] and rows + part.rows > ROWS_PER_SLICE:
            tasks.append([])
            rows = 0
        tasks[-1].append(part)
        rows += part.rows
    return tasks


def split_rows(table: str, rows: pa.Table, buckets: int) -> pa.RecordBatch:
    """Split rows by the hash of their ImageID: one row per bucket that gets any."""
    of_row = bucket_of(rows.column("image_id"), buckets)
    order = np.argsort(of_row, kind="stable")
    ends = np.searchsorted(of_row[order], np.arange(buckets + 1))
    ordered = rows.take(pa.array(order))
    filled = np.flatnonzero(np.diff(ends))
    streams = [_stream(ordered.slice(ends[bucket], ends[bucket + 1] - ends[bucket])) for bucket in filled]
    columns = [pa.array(filled, pa.int32()), pa.array([table] * len(filled)), pa.array(streams, pa.binary())]
    return pa.RecordBatch.from_arrays(columns, names=["bucket", "table", "rows"])


def bucket_of(image_ids: pa.ChunkedArray, buckets: int) -> NDArray[np.uint16]:
    """Return the bucket of each ImageID, which depends on nothing but its text and the number of buckets."""
    return (hash_texts(image_ids) % np.uint64(buckets)).astype(np.uint16)


def _stream(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, options=pa.ipc.IpcWriteOptions(unify_dictionaries=True)) as writer:
        writer.write_table(rows)
    return bytes(sink.getvalue())


def gather(batches: Batches, schemas: Mapping[str, pa.Schema]) -> tuple[int | None, Bucket]:
    """Put a bucket's tables together; return its number, or None if it has no rows."""
    found: dict[str, list[pa.Table]] = {name: [] for name in schemas}
    bucket = None
    for batch in batches:
        for number, name, stream in zip(*(batch.column(name) for name in ("bucket", "table", "rows")), strict=True):
            bucket = number.as_py()
            # Decoded here, because each slice has dictionaries of its own.
            found[name.as_py()].append(pa.ipc.open_stream(stream.as_buffer()).read_all().cast(schemas[name.as_py()]))
    return bucket, {name: _concat(parts, schemas[name]) for name, parts in found.items()}


def _concat(parts: Sequence[pa.Table], schema: pa.Schema) -> pa.Table:
    return pa.concat_tables([schema.empty_table(), *parts]).combine_chunks()
