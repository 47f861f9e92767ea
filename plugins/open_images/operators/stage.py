"""The base class of the operators of stages.

A stage that is already done succeeds at once. Otherwise the subclass runs a job. If the job succeeds, its manifest's
metrics become the task's XCom value; if it fails, its `error.json` decides whether a retry makes sense. When the task
is killed, a subclass ends the job's whole process tree.
"""

from __future__ import annotations

import datetime
import os
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.log import mask_secret

from ml import storage
from ml.config.deployment import Deployment, load_deployment
from ml.flow.stage import Stage
from ml.flow.table import find_stage
from ml.redaction import is_secret
from ml.workflow import layout
from ml.workflow.attempt import new_attempt
from ml.workflow.execution import attempt_uri, wait_for_others
from ml.workflow.manifest import Manifest, load_manifest
from ml.workflow.run import FlowRun, load_run
from ml.workflow.supervision import SUPERVISOR_VARIABLE, identity
from open_images.errors import airflow_errors, failure_of
from open_images.links import links_of

if TYPE_CHECKING:
    from airflow.sdk import Context


class JobFailedError(Exception):
    """A job failed; the message says how, in case the job left no `error.json`."""


class StageOperator(BaseOperator):
    """Run a stage of a flow, unless it is already done; wait while another run does it.

    A subclass defines how to run a job (`run_job`) and how to end it (`on_kill`). If it also inherits from another
    operator, this class comes first.

    If the task has outlets, the extras of their asset events describe the attempt (see `event_extra`), even if the
    stage was already done.

    Args:
        stage: Name of the stage.
        run: URI of the run folder. (templated)
        deployment: The deployment's settings; by default those of the file that the environment names.
        event_metrics: Names of the metrics in the asset events.
    """

    template_fields: Sequence[str] = ("run",)

    def __init__(
        self,
        *,
        stage: str,
        run: str,
        deployment: Deployment | None = None,
        event_metrics: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        deployment = deployment or load_deployment()
        kwargs.setdefault("execution_timeout", datetime.timedelta(hours=deployment.timeout(stage)))
        super().__init__(**kwargs)
        self.operator_extra_links = links_of(find_stage(stage), deployment)
        self.stage = stage
        self.run = run
        self.event_metrics = event_metrics

    @abstractmethod
    def run_job(self, context: Context, attempt: str) -> None:
        """Start the job of an attempt and wait for it to end.

        Args:
            context: Airflow's context of the task.
            attempt: The attempt's name, to pass to the job.

        Raises:
            JobFailedError: The job failed.
            AirflowException: The job could not be started.
        """

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the stage and return its metrics."""
        mask_environment()
        with airflow_errors():
            run, stage = load_run(self.run), find_stage(self.stage)
            found = wait_for_others(run, stage)
            if found:
                self.log.info("Already done: %s", found.uri)
                manifest = found
            else:
                attempt = new_attempt()
                manifest = self._outcome(context, run, stage, attempt)
                found = manifest if manifest.attempt != attempt else None
            for outlet in self.outlets:
                context["outlet_events"][outlet].extra = event_extra(run, manifest, self.event_metrics, context)
        return xcom_value(manifest, found_done=found is not None)

    def _outcome(self, context: Context, run: FlowRun[Any], stage: Stage, attempt: str) -> Manifest:
        """Run a job and return the manifest that it committed or, if another run's job was quicker, found."""
        uri = attempt_uri(run, stage, attempt)
        try:
            self.run_job(context, attempt)
        except JobFailedError as failed:
            raise failure_of(uri, str(failed)) from failed
        if storage.exists(layout.manifest_uri(uri)):
            return load_manifest(uri)
        if found := run.find_or_adopt(stage):
            return found
        # A job that `on_kill` ended looks successful too.
        raise failure_of(uri, f"Stage {self.stage} committed nothing.")

    def job_arguments(self, attempt: str) -> list[str]:
        """Return the job's arguments for an attempt, which are the same for all subclasses."""
        return ["--run", self.run, "--attempt", attempt]

    def job_environment(self) -> dict[str, str]:
        """Return the variable that makes a job on this machine end when the task's process is gone."""
        return {SUPERVISOR_VARIABLE: identity()}


def mask_environment() -> None:
    """Make Airflow hide the secrets in the environment wherever a job, which inherits it, writes them to the log."""
    for name, value in os.environ.items():
        if value and (name.startswith("AIRFLOW_CONN_") or is_secret(name, value)):
            mask_secret(value)


def xcom_value(manifest: Manifest, found_done: bool) -> dict[str, Any]:
    """Return what a stage's task pushes: the manifest's metrics and ledger, and the attempt's URI."""
    return {
        **manifest.metrics,
        "ledger": manifest.ledger,
        "stage": manifest.stage,
        "attempt": manifest.uri,
        "found_done": found_done,
    }


def event_extra(run: FlowRun[Any], manifest: Manifest, metrics: Sequence[str], context: Context) -> dict[str, Any]:
    """Return the extras of a stage's asset event: the attempt, its inputs, the run, and metrics by name."""
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
