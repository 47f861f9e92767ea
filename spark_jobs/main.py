"""The command line of a job: execute a stage of a run in one Spark session."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import sys
from collections.abc import Callable

from pyspark.sql import SparkSession

from ml.errors import StageError
from ml.flow.table import find_stage
from ml.logs import log_to_stderr
from ml.workflow.execution import FlowContext, Result, run_stage
from ml.workflow.run import C, load_run
from spark_jobs.session import fit_partitions, session

log = logging.getLogger(__name__)
Body = Callable[[SparkSession, FlowContext[C]], Result]


def main(stage: str, body: Body[C]) -> None:
    """Run a job as `spark-submit <job>.py --run URI [--attempt NAME]`.

    A stage whose result already exists starts no Spark session, unless YARN runs the driver.
    """
    log_to_stderr()
    parser = argparse.ArgumentParser(prog=stage)
    parser.add_argument("--run", required=True, help="the run folder")
    parser.add_argument("--attempt", help="the attempt's name; by default a new one")
    arguments = parser.parse_args()
    try:
        manifest = run_stage(
            load_run(arguments.run),
            find_stage(stage),
            lambda context: _traced(session(stage), body, context),  # all deliveries share one session
            arguments.attempt,
        )
        # YARN counts a driver in one of its containers, which have this variable, as failed if it ends without ever
        # having had a SparkContext.
        if "CONTAINER_ID" in os.environ:
            session(stage)
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
    """Run a job's body and add the Spark application id to its result."""
    if context.inputs:  # extract and predict have none
        fit_partitions(spark, context.inputs.values())
    result = body(spark, context)
    return dataclasses.replace(result, spark_application=spark.sparkContext.applicationId)
