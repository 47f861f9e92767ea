"""What all operators of stages share.

A stage found done succeeds at once. Otherwise a job runs, in a place that the subclass knows. When it ends well, its
manifest's metrics are the task's XCom value; when it ends badly, its `error.json` decides whether a retry makes sense.
A subclass ends the job's whole process tree when the task is killed.
"""

from __future__ import annotations

import datetime
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from ml import storage
from ml.config.deployment import Deployment, load_deployment
from ml.flow.table import find_stage
from ml.workflow import layout
from ml.workflow.attempt import new_attempt
from ml.workflow.execution import attempt_uri
from ml.workflow.manifest import Manifest, load_manifest
from ml.workflow.run import FlowRun, load_run
from ml.workflow.supervision import SUPERVISOR_VARIABLE, identity
from open_images.errors import airflow_errors, failure_of

if TYPE_CHECKING:
    from airflow.sdk import Context


class JobFailedError(Exception):
    """A job ended badly; the message says how, for the case that it left no `error.json`."""


class StageOperator(BaseOperator):
    """Do a stage of a flow, unless it is found done.

    A subclass says how a job is run (`run_job`) and how it is ended (`on_kill`). Where it inherits from another
    operator too, this class comes first.

    If the task has outlets, the extras of their asset events say what was done (see `event_extra`), also where it was
    found done.

    Args:
        stage: Name of the stage.
        run: URI of the run folder. (templated)
        deployment: The deployment's settings; by default those that the environment names.
        event_metrics: Names of the metrics that asset events carry.
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
        hours = (deployment or load_deployment()).timeout(stage)
        kwargs.setdefault("execution_timeout", datetime.timedelta(hours=hours))
        super().__init__(**kwargs)
        self.stage = stage
        self.run = run
        self.event_metrics = event_metrics

    @abstractmethod
    def run_job(self, context: Context, attempt: str) -> None:
        """Start the job of an attempt, and wait for its end.

        Args:
            context: Airflow's, of the task.
            attempt: The attempt's name, which the job is to be given.

        Raises:
            JobFailedError: The job ended badly.
            AirflowException: It could not be started.
        """

    def execute(self, context: Context) -> dict[str, Any]:
        """Do the stage and return its metrics."""
        with airflow_errors():
            run, stage = load_run(self.run), find_stage(self.stage)
            found = run.find_or_adopt(stage)
            if found:
                self.log.info("Found done: %s", found.uri)
                manifest = found
            else:
                attempt = new_attempt()
                manifest = self._outcome(context, attempt, attempt_uri(run, stage, attempt))
            for outlet in self.outlets:
                context["outlet_events"][outlet].extra = event_extra(run, manifest, self.event_metrics, context)
        return xcom_value(manifest, found_done=found is not None)

    def _outcome(self, context: Context, attempt: str, uri: str) -> Manifest:
        """Run a job, and return what it committed."""
        try:
            self.run_job(context, attempt)
        except JobFailedError as failed:
            raise failure_of(uri, str(failed)) from failed
        # A job that `on_kill` has ended seems to have ended well too.
        if not storage.exists(layout.manifest_uri(uri)):
            raise failure_of(uri, f"Stage {self.stage} committed nothing.")
        return load_manifest(uri)

    def job_arguments(self, attempt: str) -> list[str]:
        """Return the arguments of the job of an attempt, the same wherever it runs."""
        return ["--run", self.run, "--attempt", attempt]

    def job_environment(self) -> dict[str, str]:
        """Return the variable by which a job on this machine ends once the task is gone."""
        return {SUPERVISOR_VARIABLE: identity()}


def xcom_value(manifest: Manifest, found_done: bool) -> dict[str, Any]:
    """Return what a stage's task pushes: the manifest's metrics and ledger, and where the attempt lies."""
    return {
        **manifest.metrics,
        "ledger": manifest.ledger,
        "stage": manifest.stage,
        "attempt": manifest.uri,
        "found_done": found_done,
    }


def event_extra(run: FlowRun[Any], manifest: Manifest, metrics: Sequence[str], context: Context) -> dict[str, Any]:
    """Return what a stage's asset event carries: the attempt and those it was made of, the run, and metrics by name."""
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
