"""Operators for the stages of the flow: on Spark through spark-submit, or in a Python process of its own.

Both keep one contract. A stage found done succeeds at once. Otherwise the job runs as a child process; when it ends
well its manifest's metrics are the task's XCom value, when it ends badly its `error.json` decides whether a retry makes
sense, and when the task is killed the job's whole process tree ends with it.
"""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import BaseOperator
from airflow.sdk.bases.hook import BaseHook
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowNotFoundException

import spark_jobs
from ml import storage
from ml.config.deployment import load_deployment
from ml.errors import StageError
from ml.flow.stage import Stage
from ml.flow.table import find_stage
from ml.java import java_home
from ml.workflow.attempt import new_attempt
from ml.workflow.execution import attempt_uri
from ml.workflow.manifest import Manifest, load_manifest
from ml.workflow.run import FlowRun, load_run
from ml.workflow.supervision import SUPERVISOR_VARIABLE, end_process_tree, identity
from open_images.links import MlflowLink, ReportLink, SparkHistoryLink

if TYPE_CHECKING:
    from airflow.sdk import Context

JOBS = Path(spark_jobs.__file__).parent


def fail(error: StageError) -> AirflowException:
    """The Airflow exception for a failure: retried only where the fault may pass by itself."""
    message = f"{error.kind}: {error}"
    return AirflowException(message) if error.kind == "passing" else AirflowFailException(message)


def failure_of(attempt: str, otherwise: str) -> AirflowException:
    """The Airflow exception for a job that ended badly, from its `error.json`; without one a retry may help."""
    uri = storage.join(attempt, "error.json")
    if not storage.exists(uri):
        return AirflowException(f"{otherwise} The job left no error.json; the log above says how it ended.")
    told = storage.read_json(uri)
    message = f"{told['kind']}: {told['message']} {told['advice']}".strip()
    return AirflowException(message) if told["kind"] == "passing" else AirflowFailException(message)


def committed(attempt: str, otherwise: str) -> Manifest:
    """The manifest of a job that seems to have ended well, which a job that `on_kill` has ended seems to as well."""
    if not storage.exists(storage.join(attempt, "manifest.json")):
        raise failure_of(attempt, otherwise)
    return load_manifest(attempt)


def xcom_value(manifest: Manifest, found_done: bool) -> dict[str, Any]:
    """What a stage's task pushes: the manifest's metrics and ledger, and where the attempt lies."""
    return {
        **manifest.metrics,
        "ledger": manifest.ledger,
        "stage": manifest.stage,
        "attempt": manifest.uri,
        "found_done": found_done,
    }


def event_extra(run: FlowRun[Any], manifest: Manifest, metrics: Sequence[str], context: Context) -> dict[str, Any]:
    """What the asset event of a stage tells: the attempt and those it was made of, the run, and metrics by name."""
    dag_run = context["dag_run"]
    return {
        "stage": manifest.stage,
        "attempt": manifest.uri,
        "inputs": manifest.inputs,
        "keys": {manifest.stage: manifest.key, **{name: run.pinned(name).key for name in manifest.inputs}},
        "run": run.uri,
        "run_id": run.run_id,
        "run_type": dag_run.run_type.value,
        "as_of": run.as_of,
        "metrics": {name: manifest.metrics[name] for name in metrics},
    }


def stage_timeout(stage: str) -> datetime.timedelta:
    """How long the deployment gives the task of a stage."""
    return datetime.timedelta(hours=load_deployment().timeout(stage))


class _StageMixin:
    """Finds the stage done, or prepares an attempt for a job; shared by both operators."""

    stage: str
    run: str

    def prepare(self) -> tuple[FlowRun[Any], Stage, Manifest | None]:
        """The run, the stage and, where it is found done, its manifest."""
        try:
            run = load_run(self.run)
            stage = find_stage(self.stage)
            return run, stage, run.find(stage)
        except StageError as error:
            raise fail(error) from error


class SparkStageOperator(_StageMixin, SparkSubmitOperator):
    """Do a stage of the flow on Spark, unless it is found done.

    Args:
        stage: Name of the stage; the job is the file of that name in `spark_jobs`.
        run: URI of the run folder. (templated)
        conn_id: Connection of type Spark, which must exist.
    """

    template_fields: Sequence[str] = ("run", *SparkSubmitOperator.template_fields)
    operator_extra_links = (SparkHistoryLink(),)

    def __init__(self, *, stage: str, run: str, conn_id: str = "spark_default", **kwargs: Any) -> None:
        kwargs.setdefault("execution_timeout", stage_timeout(stage))
        # A job belongs to the attempt that it was started for: a retry starts its own, and reconnects to none.
        kwargs.setdefault("durable", False)
        super().__init__(application=str(JOBS / f"{stage}.py"), name=f"open-images-{stage}", conn_id=conn_id, **kwargs)
        self.stage = stage
        self.run = run

    def execute(self, context: Context) -> dict[str, Any]:
        """Submit the job and return its metrics."""
        run, stage, found = self.prepare()
        if found:
            self.log.info("Found done: %s", found.uri)
            return xcom_value(found, found_done=True)
        try:
            java = java_home()
        except StageError as error:
            raise fail(error) from error
        self._check_connection()
        attempt = new_attempt()
        self.conf = {**load_deployment().spark_conf, **(self.conf or {})}
        self.application_args = ["--run", self.run, "--attempt", attempt]
        self.env_vars = {
            "JAVA_HOME": str(java),
            # Driver and executors must run the same Python, which on one machine is this one.
            "PYSPARK_PYTHON": os.environ.get("PYSPARK_PYTHON", sys.executable),
            "PYSPARK_DRIVER_PYTHON": sys.executable,
            SUPERVISOR_VARIABLE: identity(),
        }
        uri = attempt_uri(run, stage, attempt)
        try:
            super().execute(context)
        except FileNotFoundError as error:
            raise AirflowFailException(
                f"configuration: There is no {error.filename}. Put spark-submit, which comes with pyspark, on PATH."
            ) from error
        except ValueError as error:  # the provider's checks of the connection
            raise AirflowFailException(f"configuration: {error}") from error
        except AirflowException as error:
            raise failure_of(uri, f"spark-submit of stage {self.stage} failed.") from error
        return xcom_value(committed(uri, f"Stage {self.stage} committed nothing."), found_done=False)

    def on_kill(self) -> None:
        """End spark-submit, its JVM and the Python driver: the hook's own way ends the JVM alone."""
        process = getattr(self._hook, "_submit_sp", None)
        if process is not None:
            end_process_tree(process.pid)
        if self._hook is not None:
            super().on_kill()

    def _check_connection(self) -> None:
        # The hook takes a missing connection for `yarn`, and fails much later on something else.
        try:
            BaseHook.get_connection(self._conn_id)
        except AirflowNotFoundException as error:
            raise AirflowFailException(
                f"configuration: There is no connection {self._conn_id!r}. Create it with type Spark and your master "
                "as host, or set AIRFLOW_CONN_SPARK_DEFAULT."
            ) from error


class ProcessStageOperator(_StageMixin, BaseOperator):
    """Do a stage of the flow in a Python process of its own (`python -m ml <stage>`), unless it is found done.

    Where the task has outlets, each of their asset events tells in its extras what was done (see `event_extra`), also
    where it was found done.

    Args:
        stage: Name of the stage and of the command.
        run: URI of the run folder. (templated)
        event_metrics: Names of the metrics that asset events carry.
    """

    template_fields: Sequence[str] = ("run",)
    operator_extra_links = (ReportLink(), MlflowLink())

    def __init__(self, *, stage: str, run: str, event_metrics: Sequence[str] = (), **kwargs: Any) -> None:
        kwargs.setdefault("execution_timeout", stage_timeout(stage))
        super().__init__(**kwargs)
        self.stage = stage
        self.run = run
        self.event_metrics = event_metrics
        self._hook: Any = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the command and return its metrics."""
        run, stage, found = self.prepare()
        if found:
            self.log.info("Found done: %s", found.uri)
        manifest = found or self._run(run, stage)
        for outlet in self.outlets:
            context["outlet_events"][outlet].extra = event_extra(run, manifest, self.event_metrics, context)
        return xcom_value(manifest, found_done=found is not None)

    def _run(self, run: FlowRun[Any], stage: Stage) -> Manifest:
        from airflow.providers.standard.hooks.subprocess import SubprocessHook

        attempt = new_attempt()
        uri = attempt_uri(run, stage, attempt)
        self._hook = SubprocessHook()
        result = self._hook.run_command(
            [sys.executable, "-m", "ml", self.stage, "--run", self.run, "--attempt", attempt],
            env={**os.environ, SUPERVISOR_VARIABLE: identity()},
            cwd=os.getcwd(),  # OPEN_IMAGES_CONFIG may be relative to it
        )
        if result.exit_code:
            raise failure_of(uri, f"Stage {self.stage} ended with exit code {result.exit_code}.")
        return committed(uri, f"Stage {self.stage} committed nothing.")

    def on_kill(self) -> None:
        """End the process and all that it started."""
        process = getattr(self._hook, "sub_process", None)
        if process is not None:
            end_process_tree(process.pid)
