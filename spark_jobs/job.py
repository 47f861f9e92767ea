"""What all jobs share: the command line, the session, reading and writing through manifests, and observed counts."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from pyspark.sql import DataFrame, Observation, SparkSession

from ml import storage
from ml.errors import StageError
from ml.flow.table import find_stage
from ml.logs import log_to_stderr
from ml.workflow.execution import FlowContext, Result, run_stage
from ml.workflow.run import C, load_run

log = logging.getLogger(__name__)
Body = Callable[[SparkSession, FlowContext[C]], Result]


def main(stage: str, body: Body[C]) -> None:
    """Run a job as `spark-submit <job>.py --run URI [--attempt NAME]`. No session is made for a stage found done."""
    log_to_stderr()
    parser = argparse.ArgumentParser(prog=stage)
    parser.add_argument("--run", required=True, help="the run folder")
    parser.add_argument("--attempt", help="the attempt's name; by default a new one")
    arguments = parser.parse_args()
    try:
        manifest = run_stage(
            load_run(arguments.run),
            find_stage(stage),
            lambda context: _traced(session(stage), body, context),  # one session for however many deliveries
            arguments.attempt,
        )
    except StageError as error:
        log.error("%s failed (%s): %s", stage, error.kind, error)
        sys.exit(1)
    finally:
        if active := SparkSession.getActiveSession():
            active.stop()
    log.info("%s: committed %s", stage, manifest.uri)
    for reason, count in manifest.ledger.items():
        log.info("%s ledger: %12d %s", stage, count, reason)


def _traced(spark: SparkSession, body: Body[C], context: FlowContext[C]) -> Result:
    """The result of a job, with the id by which Spark's history server knows its application."""
    result = body(spark, context)
    return dataclasses.replace(result, spark_application=spark.sparkContext.applicationId)


def session(name: str) -> SparkSession:
    """The Spark session, with the settings that the jobs' results depend on; all else is left to spark-submit."""
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


def observed(observation: Observation) -> dict[str, Any]:
    """The counts observed in a finished pass, with 0 where a sum saw no row."""
    return {name: 0 if value is None else value for name, value in observation.get.items()}
