"""The Spark session, and helpers to read and write tables and to observe counts."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pyspark.sql import DataFrame, Observation, SparkSession

from ml import storage
from ml.workflow.execution import FlowContext
from ml.workflow.manifest import Manifest
from ml.workflow.run import C

log = logging.getLogger(__name__)
PARTITIONS = "spark.sql.shuffle.partitions"
PARTITION_BYTES = 16 << 20  # of compressed Parquet, several times as many in memory


def session(name: str) -> SparkSession:
    """Return the Spark session with the settings that results depend on; spark-submit sets everything else."""
    return (
        SparkSession.builder.appName(name)
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.ansi.enabled", True)
        # Readers find an attempt's files through its manifest, so Hadoop's commit needs neither renames nor markers.
        .config("spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version", 2)
        .config("spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs", False)
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
    """Write a table of the attempt as Parquet, in one folder or in one folder per value of a column."""
    started = time.monotonic()
    table.write.parquet(storage.hadoop_uri(context.path(name)), partitionBy=partition_by)
    log.info("wrote table %s in %.1f s", name, time.monotonic() - started)


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
