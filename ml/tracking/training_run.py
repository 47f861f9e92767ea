"""What a training leaves in MLflow: parameters, data, metrics an epoch, the machine's load, plots, model, evaluation.

One MLflow run stands for one training: its attempt, whoever uses it later. A retry goes on with the MLflow run of the
attempt that was killed; stage evaluate writes into the MLflow run of the model that it measured. MLflow being away
refuses a training at its start and costs it nothing later: what cannot be recorded is tried again with whatever comes
next, and what is left at the end is named in the log and in the manifest.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml import storage
from ml.flow.table import STAGES, downstream_of
from ml.tracking import experiments
from ml.workflow import layout

if TYPE_CHECKING:
    import keras
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from ml.model.description import Description
    from ml.workflow.execution import Context

log = logging.getLogger(__name__)

SYSTEM_SECONDS = 10.0
RETRY_SECONDS = 300.0  # while MLflow is away, each try may take a minute
REQUIREMENTS = ("keras", "tensorflow", "numpy")


@contextlib.contextmanager
def track(context: Context) -> Iterator[TrackedRun]:
    """Open the MLflow run of a training, or the one of its killed attempt, and close it however the training ends.

    An error marks it FAILED, an interrupt KILLED. A training that is killed leaves it RUNNING for its retry.

    Args:
        context: Of stage train.

    Raises:
        ConfigurationError: No tracking server is named where one is needed, or its database is of another version.
        TransientError: The tracking server does not answer.
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
        context: Of stage train.
    """

    def __init__(self, context: Context) -> None:
        self.uri = experiments.tracking_uri(context.run.root)
        self._context = context
        self._client, self._experiment = experiments.open_experiment(self.uri, context.config)
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        found = self._find()
        self.run_id = found.info.run_id if found else self._create()
        self.model_id: str | None = None
        self._pending: dict[str, Callable[[], None]] = {}
        self._next_try = 0.0
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
        """The run's page, where the deployment has a tracking server."""
        return experiments.run_page(self.uri, self._experiment, self.run_id)

    def log_history(self, history: list[dict[str, Any]]) -> None:
        """Record the epochs that are not yet recorded, each at its own step.

        MLflow adds a second point where a step is logged twice. An epoch that a resumed training did once more is
        therefore left as it was: the two are equal within rounding.

        Args:
            history: A row an epoch, with `epoch`, from 1, `val_loss` and other numbers.
        """

        def send() -> None:
            rows = [row for row in history if row["epoch"] not in self._recorded]
            points = [
                (name, value, row["epoch"]) for row in rows for name, value in flatten(row).items() if name != "epoch"
            ]
            _log_metrics(self._client, self.run_id, points)
            self._recorded |= {row["epoch"] for row in rows}

        self._send("metrics of epochs", send)

    def log_file(self, path: str, content: bytes) -> None:
        """Record a file, such as a plot, among the run's artifacts."""
        self._send(path, lambda: _log_files(self._client, self.run_id, {path: content}))

    def log_model(self, network: keras.Model, description: Description) -> None:
        """Record the trained network as an MLflow model of flavour `keras`, which `mlflow.pyfunc` loads too.

        Its signature is uint8 chips, shape (-1, chip_size, chip_size, 3), to float32 probabilities, shape (-1, 2).
        """

        def send() -> None:
            for model in self._client.search_logged_models([self._experiment], f"source_run_id = '{self.run_id}'"):
                self._client.delete_logged_model(model.model_id)  # of an attempt that was killed before its commit
            self.model_id = self._write_model(network, description)

        self._send("model", send)

    def _write_model(self, network: keras.Model, description: Description) -> str:
        import mlflow.keras
        import numpy as np
        from mlflow.entities import LoggedModelOutput
        from mlflow.models import Model, ModelSignature
        from mlflow.types import Schema, TensorSpec

        side = description.chip_size
        signature = ModelSignature(
            inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, side, side, 3))]),
            outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, len(description.labels)))]),
        )
        told = description.model_dump(mode="json")
        params = {name: _text(value) for name, value in told.items() if name != "validation"}
        model = self._client.create_logged_model(
            self._experiment,
            name=description.network.replace(":", "-"),
            source_run_id=self.run_id,
            params=params,
            tags={"attempt": self._context.uri},
            model_type="keras",
        )
        with tempfile.TemporaryDirectory() as folder:
            # Without a list of requirements MLflow would load the model in another process to find them.
            mlflow.keras.save_model(
                network,
                os.path.join(folder, "model"),
                mlflow_model=Model(artifact_path=model.artifact_location, run_id=self.run_id, model_id=model.model_id),
                signature=signature,
                pip_requirements=[f"{package}=={version(package)}" for package in REQUIREMENTS],
                metadata={"attempt": self._context.uri, **told},
            )
            self._client.log_model_artifacts(model.model_id, os.path.join(folder, "model"))
        self._client.finalize_logged_model(model.model_id, "READY")
        self._client.log_outputs(self.run_id, [LoggedModelOutput(model.model_id, step=description.best_epoch)])
        return model.model_id

    def finish(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Record the training's last metrics, nested ones by paths, and that it is finished.

        Returns:
            For the manifest: run_id, experiment_id, model_id, tracking_uri, and what is `unrecorded`, by name.
        """
        self._monitor.finish()
        self._pending |= {
            "metrics of the model": lambda: _log_metrics(
                self._client, self.run_id, _points(flatten(metrics)), self.model_id
            ),
            "the end": lambda: self._client.set_terminated(self.run_id, "FINISHED"),
        }
        self._flush()
        if self._pending:
            log.warning("MLflow: never recorded: %s", ", ".join(self._pending))
        return {
            "run_id": self.run_id,
            "experiment_id": self._experiment,
            "model_id": self.model_id,
            "tracking_uri": self.uri,
            "unrecorded": list(self._pending),
        }

    def fail(self, error: BaseException) -> None:
        """Record that the training failed and why, or that it was interrupted."""
        status = "FAILED" if isinstance(error, Exception) else "KILLED"
        told = f"{type(error).__name__}: {error}"[:2000]

        def send() -> None:
            self._client.set_tag(self.run_id, "error", told)
            self._client.set_terminated(self.run_id, status)

        self._pending["the failure"] = send
        self._flush()

    def close(self) -> None:
        """Stop watching the machine's load."""
        self._monitor.finish()

    def _find(self) -> Run | None:
        """The MLflow run of the newest attempt of this same training that was not committed."""
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
        self._client.log_batch(run.info.run_id, params=[Param(name, _text(params[name])) for name in sorted(fields)])
        self._client.log_inputs(run.info.run_id, _datasets(context))
        return run.info.run_id

    def _send(self, what: str, call: Callable[[], None]) -> None:
        """Record something, after all that could not be recorded before; not at once while MLflow is away."""
        self._pending[what] = call
        if time.monotonic() >= self._next_try:
            self._flush()

    def _flush(self) -> None:
        for what in list(self._pending):
            try:
                self._pending[what]()
            except Exception as error:  # whatever it is, it is no reason to lose a training
                self._next_try = time.monotonic() + RETRY_SECONDS
                log.warning("MLflow did not take %s, which is tried again: %s", what, str(error).strip()[:300])
            else:
                del self._pending[what]


def flatten(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Numbers of nested metrics by path: {"accuracy": {"value": 0.9, "low": 0.8}} gives accuracy and accuracy_low.

    What is no number is left out, and so is the count beside a value; characters that MLflow allows in no name become
    `-`.
    """
    found: dict[str, float] = {}
    for name, value in metrics.items():
        # A path of names: `/`, and names of dots alone, would give it another meaning.
        name = re.sub(r"[^\w. -]|^\.*$", "-", str(name))
        if isinstance(value, Mapping):
            measured = "value" in value
            for inner, number in flatten(value).items():
                if not measured:
                    found[f"{name}/{inner}"] = number
                elif inner != "count":
                    found[name if inner == "value" else f"{name}_{inner}"] = number
        elif isinstance(value, int | float):
            found[name] = float(value)
    return found


def _datasets(context: Context) -> list[Any]:
    """The features and the release, by the digests under which the stages know them."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    features, sources = context.inputs["featurize"], context.run.sources
    told = (
        ("features", features.key, features.uri, {"faces": features.metrics["faces"]}),
        # MLflow keeps 36 characters of a digest.
        ("release", sources["tables"][:36], context.run.parameters["release"], sources),
    )
    return [
        DatasetInput(
            Dataset(name, digest, "folder", json.dumps({"uri": uri}), profile=json.dumps(profile)),
            [InputTag("mlflow.data.context", "training")],
        )
        for name, digest, uri, profile in told
    ]


def _points(metrics: Mapping[str, float]) -> list[tuple[str, float, int]]:
    return [(name, value, 0) for name, value in metrics.items()]


def _log_metrics(
    client: MlflowClient, run_id: str, points: list[tuple[str, float, int]], model_id: str | None = None
) -> None:
    """Record (name, value, step) of a run, and of its model and features where it has a model, up to 1,000 at once."""
    from mlflow.entities import Metric

    about: dict[str, str] = {}
    if model_id:
        inputs = client.get_run(run_id).inputs
        assert inputs
        data = {used.dataset.name: used.dataset for used in inputs.dataset_inputs}["features"]
        about = {"model_id": model_id, "dataset_name": data.name, "dataset_digest": data.digest}
    now = int(time.time() * 1000)
    metrics = [Metric(name, float(value), now, step, **about) for name, value, step in points]
    for start in range(0, len(metrics), 1000):
        client.log_batch(run_id, metrics=metrics[start : start + 1000])


def _log_files(client: MlflowClient, run_id: str, files: Mapping[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for path, content in files.items():
            target = Path(folder, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        client.log_artifacts(run_id, folder)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
