"""The record of a training in MLflow: parameters, data, metrics per epoch, system load, plots and model.

Each training attempt has one MLflow run, whichever runs use the attempt later. A retry continues the MLflow run of the
killed attempt; stage evaluate adds to the MLflow run of the model that it measured. If MLflow is down when a training
starts, the training fails; later it does not matter. What could not be recorded is tried again with the next record,
and the log and the manifest name what is missing at the end.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ml import storage
from ml.features.record import FeaturesRecord
from ml.flow.table import STAGES, downstream_of
from ml.model.record import MlflowRun
from ml.tracking import experiments
from ml.tracking.logged_model import as_text, log_model
from ml.tracking.pending import Pending
from ml.tracking.recording import Point, flatten, log_files, log_metrics, points_of
from ml.workflow import layout

if TYPE_CHECKING:
    import keras
    from mlflow.entities import DatasetInput, Run
    from pydantic import JsonValue

    from ml.model.description import Description
    from ml.model.record import EpochRow
    from ml.workflow.execution import Context

log = logging.getLogger(__name__)

SYSTEM_SECONDS = 10.0


@contextlib.contextmanager
def track(context: Context) -> Iterator[TrackedRun]:
    """Open the MLflow run of a training, or that of its killed attempt, and close it however the training ends.

    An error marks it FAILED, an interrupt KILLED. A killed training leaves it RUNNING for the retry.

    Args:
        context: The context of stage train.

    Raises:
        ConfigurationError: No tracking server is named where one is needed, or its database is from another version.
        TransientError: The tracking server fails.
        ResourceError: The local database cannot be used.
    """
    tracked = TrackedRun(context)
    try:
        yield tracked
    except BaseException as error:
        tracked.fail(error)
        raise
    finally:
        tracked.close()


class TrackedRun:
    """The MLflow run of one training.

    Args:
        context: The context of stage train.
    """

    def __init__(self, context: Context) -> None:
        self.uri = experiments.tracking_uri(context.run.root)
        self._context = context
        self._client, self._experiment = experiments.open_experiment(self.uri, context.config)
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        found = self._find()
        self.run_id = found.info.run_id if found else self._create()
        self.model_id: str | None = None
        self._pending = Pending()
        self._recorded = {point.step for point in self._client.get_metric_history(self.run_id, "val_loss")}
        if found:
            self._client.update_run(self.run_id, status="RUNNING")
            self._client.set_tag(self.run_id, "attempt", context.uri)
            if "error" in found.data.tags:
                self._client.delete_tag(self.run_id, "error")
        self._monitor = SystemMetricsMonitor(
            self.run_id, sampling_interval=SYSTEM_SECONDS, resume_logging=True, tracking_uri=self.uri
        )
        self._monitor.start()
        log.info("MLflow: %s run %s, at %s", "resuming" if found else "new", self.run_id, self.url or "`make mlflow`")

    @property
    def url(self) -> str | None:
        """The address of the run's page, or None without a tracking server."""
        return experiments.run_page(self.uri, self._experiment, self.run_id)

    def log_history(self, history: list[EpochRow]) -> None:
        """Record the epochs that are not recorded yet, each at its own step.

        MLflow keeps both points if a step is logged twice, so an epoch that a resumed training repeats is not logged
        again. The two are equal within rounding.
        """

        def send() -> None:
            rows = [row for row in history if row.epoch not in self._recorded]
            points = [
                Point(name, value, row.epoch)
                for row in rows
                for name, value in flatten(row.json_values()).items()
                if name != "epoch"
            ]
            log_metrics(self._client, self.run_id, points)
            self._recorded |= {row.epoch for row in rows}

        self._pending.send("metrics of epochs", send)

    def log_file(self, path: str, content: bytes) -> None:
        """Record a file, such as a plot, as an artifact of the run."""
        self._pending.send(path, lambda: log_files(self._client, self.run_id, {path: content}))

    def log_model(self, network: keras.Model, description: Description) -> None:
        """Record the trained network as an MLflow model, see `ml.tracking.logged_model.log_model`."""

        def send() -> None:
            self.model_id = log_model(
                self._client, self._experiment, self.run_id, self._context.uri, network, description
            )

        self._pending.send("model", send)

    def finish(self, metrics: Mapping[str, JsonValue]) -> MlflowRun:
        """Record the training's final metrics, nested ones by path, and mark the run as finished.

        Returns:
            Where MLflow has the training, and what it failed to record.
        """
        self._monitor.finish()
        self._pending.add(
            "metrics of the model",
            lambda: log_metrics(self._client, self.run_id, points_of(metrics), self.model_id),
        )
        self._pending.add("the end", lambda: self._client.set_terminated(self.run_id, "FINISHED"))
        self._pending.flush()
        if unrecorded := self._pending.names:
            log.warning("MLflow: not recorded: %s", ", ".join(unrecorded))
        return MlflowRun(
            run_id=self.run_id,
            experiment_id=self._experiment,
            model_id=self.model_id,
            tracking_uri=self.uri,
            unrecorded=unrecorded,
        )

    def fail(self, error: BaseException) -> None:
        """Mark the run as failed, with the reason, or as interrupted."""
        status = "FAILED" if isinstance(error, Exception) else "KILLED"
        reason = f"{type(error).__name__}: {error}"[:2000]

        def send() -> None:
            self._client.set_tag(self.run_id, "error", reason)
            self._client.set_terminated(self.run_id, status)

        self._pending.add("the failure", send)
        self._pending.flush()

    def close(self) -> None:
        """Stop monitoring the machine's load."""
        self._monitor.finish()

    def _find(self) -> Run | None:
        """Return the MLflow run of this training's newest attempt if that was not committed, or None."""
        key_uri = layout.key_of_attempt(self._context.uri)
        of_this = f"tags.stage_key = '{self._context.key}' and tags.workflow_run = '{self._context.run.slug}'"
        for run in self._client.search_runs([self._experiment], of_this):
            attempt = run.data.tags["attempt"]
            # Another storage root may have the same key and run.
            if layout.key_of_attempt(attempt) == key_uri:
                return None if storage.exists(layout.manifest_uri(attempt)) else run
        return None

    def _create(self) -> str:
        from mlflow.entities import Param

        context = self._context
        tags = {"workflow_run": context.run.slug, "stage_key": context.key, "attempt": context.uri}
        run = self._client.create_run(self._experiment, tags=tags, run_name=context.run.run_id)
        fields = {name for stage in STAGES.values() if "train" in downstream_of(stage.name) for name in stage.fields}
        params = context.run.parameters
        self._client.log_batch(run.info.run_id, params=[Param(name, as_text(params[name])) for name in sorted(fields)])
        self._client.log_inputs(run.info.run_id, _datasets(context))
        return str(run.info.run_id)


def _datasets(context: Context) -> list[DatasetInput]:
    """Return the features and the release as MLflow data sets, with the digests that the stages use."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    features, sources = context.inputs["featurize"], context.run.sources
    data = (
        ("features", features.key, features.uri, {"faces": features.record(FeaturesRecord).faces}),
        # MLflow keeps 36 characters of a digest.
        ("release", sources["tables"][:36], context.run.parameters["release"], sources),
    )
    return [
        DatasetInput(
            Dataset(name, digest, "folder", json.dumps({"uri": uri}), profile=json.dumps(profile)),
            [InputTag("mlflow.data.context", "training")],
        )
        for name, digest, uri, profile in data
    ]
