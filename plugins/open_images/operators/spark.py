"""The operator that runs a stage on Spark through spark-submit."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk.exceptions import AirflowException

import spark_jobs
from ml.class_data import submit_environment
from ml.config.deployment import load_deployment
from ml.environment import SPARK_HOME, check_environment, job_environment
from ml.errors import ConfigurationError
from ml.java import java_home
from ml.object_store import spark_settings
from ml.workflow.supervision import end_process_tree
from open_images.operators.stage import JobFailedError, StageOperator
from open_images.spark_cluster import SparkCluster, find_cluster
from spark_jobs.package import code_archive

if TYPE_CHECKING:
    from airflow.sdk import Context

JOBS = Path(spark_jobs.__file__).parent
EXECUTOR_PYTHON, DRIVER_PYTHON = "spark.pyspark.python", "spark.pyspark.driver.python"


class SparkStageOperator(StageOperator, SparkSubmitOperator):
    """Run a stage of a flow on Spark, unless it is already done; the job is the file of that name in `spark_jobs`.

    Args:
        stage: Name of the stage.
        run: URI of the run folder. (templated)
        conn_id: Connection of type Spark, which must exist.
    """

    template_fields: Sequence[str] = ("run", *SparkSubmitOperator.template_fields)

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
        check_environment()
        java, cluster = java_home(), find_cluster(self._conn_id)
        self.conf = self._settings(cluster)
        self.application_args = self.job_arguments(attempt)
        # Not in `env_vars`, which on YARN and Kubernetes also go to containers, where these paths mean nothing.
        own = job_environment()
        if (theirs := os.environ.get(SPARK_HOME, own[SPARK_HOME])) != own[SPARK_HOME]:
            self.log.warning("SPARK_HOME is %s; the job uses the project's own Spark, %s.", theirs, own[SPARK_HOME])
        os.environ |= {
            **own,
            "JAVA_HOME": str(java),
            # Driver and executors must run the same Python; on one machine, use this one.
            "PYSPARK_PYTHON": os.environ.get("PYSPARK_PYTHON", sys.executable),
            "PYSPARK_DRIVER_PYTHON": sys.executable,
            **submit_environment(java),
            **self.job_environment(),
        }
        # Without it, nobody could end an application whose driver runs in the cluster: `yarn` is no program of ours.
        self._yarn_track_via_rm_api = cluster.is_yarn and cluster.in_cluster and cluster.has_yarn_page
        try:
            with nullcontext() if cluster.is_local else code_archive() as archive:
                self.py_files = archive and str(archive)
                SparkSubmitOperator.execute(self, context)
        except FileNotFoundError as error:
            raise ConfigurationError(
                f"{error.filename} was not found.", "Put spark-submit, which pyspark installs, on PATH."
            ) from error
        except ValueError as error:  # the provider's checks of the connection
            raise ConfigurationError(str(error), f"Correct the connection {self._conn_id}.") from error
        except AirflowException as error:
            raise JobFailedError(f"spark-submit of stage {self.stage} failed.") from error

    def on_kill(self) -> None:
        """End spark-submit, its JVM and the Python driver; the hook itself ends only the JVM."""
        process = getattr(self._hook, "_submit_sp", None)
        if process is not None:
            end_process_tree(process.pid)
        if self._hook is not None:
            SparkSubmitOperator.on_kill(self)

    def _settings(self, cluster: SparkCluster) -> dict[str, str]:
        """Return Spark's properties: those of the object store, of the deployment file, and of this task."""
        deployment = load_deployment()
        in_s3 = deployment.object_store_connection or deployment.storage.startswith(("s3://", "s3a://"))
        store = spark_settings(os.environ) if in_s3 else {}
        settings: dict[str, str] = {**store, **deployment.spark_conf, **(self.conf or {})}
        if EXECUTOR_PYTHON in settings and not cluster.in_cluster:
            # That Python lies in an archive of the executors; Spark would look for it here too.
            settings.setdefault(DRIVER_PYTHON, sys.executable)
        return settings
