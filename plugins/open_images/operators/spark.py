"""The operator that runs a stage on Spark through spark-submit."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk.bases.hook import BaseHook
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowNotFoundException

import spark_jobs
from ml.class_data import submit_environment
from ml.config.deployment import load_deployment
from ml.java import java_home
from ml.workflow.supervision import end_process_tree
from open_images.links import SparkHistoryLink
from open_images.operators.stage import JobFailedError, StageOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

JOBS = Path(spark_jobs.__file__).parent


class SparkStageOperator(StageOperator, SparkSubmitOperator):
    """Run a stage of a flow on Spark, unless it is already done; the job is the file of that name in `spark_jobs`.

    Args:
        stage: Name of the stage.
        run: URI of the run folder. (templated)
        conn_id: Connection of type Spark, which must exist.
    """

    template_fields: Sequence[str] = ("run", *SparkSubmitOperator.template_fields)
    operator_extra_links = (SparkHistoryLink(),)

    def __init__(self, *, stage: str, run: str, conn_id: str = "spark_default", **kwargs: Any) -> None:
        # A job belongs to one attempt: a retry starts a new job instead of reconnecting.
        kwargs.setdefault("durable", False)
        super().__init__(
            stage=stage,
            run=run,
            application=str(JOBS / f"{stage}.py"),
            name=f"open-images-{stage}",
            conn_id=conn_id,
            **kwargs,
        )

    def run_job(self, context: Context, attempt: str) -> None:
        """Submit the job and wait for it to end."""
        java = java_home()
        self._check_connection()
        self.conf = {**load_deployment().spark_conf, **(self.conf or {})}
        self.application_args = self.job_arguments(attempt)
        self.env_vars = {
            "JAVA_HOME": str(java),
            # Driver and executors must run the same Python; on one machine, use this one.
            "PYSPARK_PYTHON": os.environ.get("PYSPARK_PYTHON", sys.executable),
            "PYSPARK_DRIVER_PYTHON": sys.executable,
            **self.job_environment(),
        }
        # Not in `env_vars`, which on YARN and Kubernetes also go to containers that have no archive.
        os.environ.update(submit_environment(java))
        try:
            SparkSubmitOperator.execute(self, context)
        except FileNotFoundError as error:
            raise AirflowFailException(
                f"configuration: {error.filename} was not found. Put spark-submit, which pyspark installs, on PATH."
            ) from error
        except ValueError as error:  # the provider's checks of the connection
            raise AirflowFailException(f"configuration: {error}") from error
        except AirflowException as error:
            raise JobFailedError(f"spark-submit of stage {self.stage} failed.") from error

    def on_kill(self) -> None:
        """End spark-submit, its JVM and the Python driver; the hook itself ends only the JVM."""
        process = getattr(self._hook, "_submit_sp", None)
        if process is not None:
            end_process_tree(process.pid)
        if self._hook is not None:
            SparkSubmitOperator.on_kill(self)

    def _check_connection(self) -> None:
        # Without the connection the hook falls back to `yarn` and fails later with a misleading error.
        try:
            BaseHook.get_connection(self._conn_id)
        except AirflowNotFoundException as error:
            raise AirflowFailException(
                f"configuration: The connection {self._conn_id!r} does not exist. Create it with type Spark and your "
                "master as host, or set AIRFLOW_CONN_SPARK_DEFAULT."
            ) from error
