"""The Spark session, the tables that jobs read and write, and the counts that their passes observe."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pyspark.sql import DataFrame, Observation, SparkSession

from ml import storage
from ml.workflow.execution import FlowContext
from ml.workflow.run import C

log = logging.getLogger(__name__)


def session(name: str) -> SparkSession:
    """Get the Spark session, with the settings that the jobs' results depend on; all else is left to spark-submit."""
    return (
        SparkSession.builder.appName(name)
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.ansi.enabled", True)
        # Attempts are read through manifests only, so Hadoop's own commit needs neither renames nor markers.
        .config("spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version", 2)
        .config("spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs", False)
        # Counts rows, not bytes: a batch of chips must fit a worker many times over.
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", 128)
        .config("spark.ui.showConsoleProgress", False)
        .getOrCreate()
    )


def read_table(spark: SparkSession, uris: Iterable[str]) -> DataFrame:
    """Read a table of an attempt by the files that its manifest names."""
    return spark.read.parquet(*(storage.hadoop_uri(uri) for uri in uris))


def write_table(table: DataFrame, context: FlowContext[C], name: str, partition_by: str | None = None) -> None:
    """Write a table of the attempt as Parquet, in one folder or in one for each value of a column."""
    started = time.monotonic()
    table.write.parquet(storage.hadoop_uri(context.path(name)), partitionBy=partition_by)
    log.info("wrote table %s in %.1f s", name, time.monotonic() - started)


class Counts(Mapping[str, int]):
    """What a finished pass observed: counts and sums by name, and a few texts such as an example."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> int:
        """Return a count, 0 where a sum saw no row."""
        return int(self._values[name] or 0)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def text(self, name: str) -> str | None:
        """Return an observed text, None where no row gave one."""
        value = self._values[name]
        return None if value is None else str(value)


def observed(observation: Observation) -> Counts:
    """Wait for the pass that an observation belongs to, and return what it observed."""
    return Counts(observation.get)
