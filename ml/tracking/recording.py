"""Functions that record numbers and files in an MLflow run."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import JsonValue

if TYPE_CHECKING:
    from mlflow import MlflowClient

MOST_METRICS = 1000  # limit of MLflow for one call


class Point(NamedTuple):
    """One value of a metric, at a step."""

    name: str
    value: float
    step: int = 0


def flatten(metrics: Mapping[str, JsonValue]) -> dict[str, float]:
    """Return the numbers of nested metrics by path.

    {"accuracy": {"value": 0.9, "low": 0.8}} gives accuracy and accuracy_low. Values that are not numbers are left
    out, and so is the count beside a value. Characters that MLflow does not allow in names become `-`.
    """
    found: dict[str, float] = {}
    for name, value in metrics.items():
        # Names form a path, so `/` and names of only dots would change its meaning.
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


def points_of(metrics: Mapping[str, JsonValue], prefix: str = "") -> list[Point]:
    """Return the numbers of nested metrics as points at step 0."""
    return [Point(f"{prefix}{name}", value) for name, value in flatten(metrics).items()]


def log_metrics(client: MlflowClient, run_id: str, points: Iterable[Point], model_id: str | None = None) -> None:
    """Record points of a run; if it has a model, link them to the model and its features."""
    from mlflow.entities import Metric

    about: dict[str, str] = {}
    if model_id:
        inputs = client.get_run(run_id).inputs
        assert inputs
        data = {used.dataset.name: used.dataset for used in inputs.dataset_inputs}["features"]
        about = {"model_id": model_id, "dataset_name": data.name, "dataset_digest": data.digest}
    now = int(time.time() * 1000)
    metrics = [Metric(name, float(value), now, step, **about) for name, value, step in points]
    for start in range(0, len(metrics), MOST_METRICS):
        client.log_batch(run_id, metrics=metrics[start : start + MOST_METRICS])


def log_files(client: MlflowClient, run_id: str, files: Mapping[str, bytes]) -> None:
    """Record files, by path, as artifacts of the run."""
    with tempfile.TemporaryDirectory() as folder:
        for path, content in files.items():
            target = Path(folder, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        client.log_artifacts(run_id, folder)
