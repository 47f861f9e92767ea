"""The Spark session, and helpers to read and write tables and to observe counts."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark import TaskContext
from pyspark.sql import DataFrame, Observation, SparkSession

from ml import storage
from ml.object_store import executor_settings
from ml.workflow.execution import FlowContext
from ml.workflow.manifest import Manifest
from ml.workflow.run import C

log = logging.getLogger(__name__)
PARTITIONS = "spark.sql.shuffle.partitions"
PARTITION_BYTES = 16 << 20  # of compressed Parquet, several times as many in memory


def session(name: str) -> SparkSession:
    """Return the Spark session with the settings that results depend on; spark-submit sets everything else.

    The object store's keys are set here as well, and not by spark-submit, whose command line others can read.
    """
    builder: SparkSession.Builder = SparkSession.builder
    for property_, value in executor_settings(os.environ).items():
        builder = builder.config(property_, value)
    return (
        builder.appName(name)
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.ansi.enabled", True)
        # The limit is in rows, not bytes, and a batch of chips must fit a worker's memory many times over.
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", 128)
        .config("spark.ui.showConsoleProgress", False)
        .getOrCreate()
    )


def fit_partitions(spark: SparkSession, inputs: Iterable[Manifest]) -> None:
    """Let shuffles have as many partitions as a stage's input tables need, unless spark-submit was told how many.

    Spark's own 200 cost a small job seconds. No core stays idle, so that ten machines do a large job in a tenth of the
    time.
    """
    if spark.sparkContext.getConf().contains(PARTITIONS):
        return
    files = (file for manifest in inputs for part in manifest.of_deliveries() for file in part.files)
    needed = math.ceil(sum(file.bytes for file in files) / PARTITION_BYTES)
    spark.conf.set(PARTITIONS, max(spark.sparkContext.defaultParallelism, needed))


def read_table(spark: SparkSession, uris: Iterable[str]) -> DataFrame:
    """Read a table of an attempt from the files that its manifest lists."""
    return spark.read.parquet(*(storage.hadoop_uri(uri) for uri in uris))


def write_table(table: DataFrame, context: FlowContext[C], name: str, partition_by: str | None = None) -> None:
    """Write a table of the attempt as Parquet, in one folder or in one folder per value of a column.

    The workers write the files, each with one PUT or one rename of a file. Hadoop's committer moves the files of every
    task to their place, which takes an object store as long as writing them, and which stricter ones refuse.
    """
    started = time.monotonic()
    folder = context.path(name)
    rows = sum(row.rows for row in table.mapInArrow(_writer(folder, partition_by), "rows long").collect())
    if not rows and partition_by is None:
        _write_file(folder, 0, table.limit(0).toArrow())  # readers need the schema
    log.info("wrote table %s (%d rows) in %.1f s", name, rows, time.monotonic() - started)


def _writer(folder: str, partition_by: str | None) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the function with which Spark's workers write a table: one file for each partition and folder."""

    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        task = TaskContext.get()
        assert task is not None
        held = list(batches)
        if not held or not (rows := pa.Table.from_batches(held)).num_rows:
            return
        # A task that is done again writes the same files.
        if partition_by is None:
            _write_file(folder, task.partitionId(), rows)
        else:
            for value in rows.column(partition_by).unique():
                part = rows.filter(pc.equal(rows.column(partition_by), value)).drop_columns([partition_by])
                _write_file(storage.join(folder, f"{partition_by}={value}"), task.partitionId(), part)
        yield pa.RecordBatch.from_pydict({"rows": [rows.num_rows]})

    return write


def _write_file(folder: str, number: int, rows: pa.Table) -> None:
    coded = [field.name for field in rows.schema if not pa.types.is_binary(field.type)]  # pixels never repeat
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, use_dictionary=coded)
    storage.write_bytes(storage.join(folder, f"part-{number:05d}.parquet"), sink.getvalue().to_pybytes())


def written(context: FlowContext[C], name: str) -> list[str]:
    """Return the URIs of the Parquet files of a table that the attempt has just written."""
    folder = context.path(name)
    return [storage.join(folder, path) for path in storage.list_files(folder) if path.endswith(".parquet")]


class Counts(Mapping[str, int]):
    """The counts, sums and example texts that a finished pass observed, by name."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> int:
        """Return a count or sum; a sum over no rows is 0."""
        return int(self._values[name] or 0)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def text(self, name: str) -> str | None:
        """Return an observed text, or None if there is none."""
        value = self._values[name]
        return None if value is None else str(value)


def observed(observation: Observation) -> Counts:
    """Wait for the pass of an observation to finish, and return its counts."""
    return Counts(observation.get)
