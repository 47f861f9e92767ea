"""What the tab 'Report' of a run shows."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ml import storage
from ml.flow.table import STAGES
from ml.report.ledger import ledgers, parameters
from ml.workflow import layout
from ml.workflow.layout import attempt_name
from ml.workflow.manifest import Manifest
from open_images.addresses import mlflow_page
from open_images.web.airflow_runs import AirflowRun
from open_images.web.folders import RunFolder

log = logging.getLogger(__name__)
# Of a stage's metrics, which also say where its files lie.
EVALUATION = (
    *("faces", "images", "accuracy", "majority", "beats_majority", "balanced_accuracy", "recall_gap", "by_label"),
    *("auc", "log_loss", "brier", "ece", "abstention", "worst_slice"),
)
COMPARISON = (
    *("faces", "images", "models", "accuracy", "log_loss", "accuracy_difference", "log_loss_difference", "table"),
    "mcnemar",
)


def report(run: AirflowRun, folder: RunFolder | None) -> dict[str, Any]:
    """All about one run, as JSON values; what the run has not come to yet is None or empty.

    Args:
        run: As Airflow knows it.
        folder: What it left in storage; None where it has not opened its folder, or was skipped before.
    """
    told: dict[str, Any] = {
        "run": {"run_id": run.run_id, "state": run.state, "run_type": run.run_type, "run_after": run.run_after},
        "tasks": run.tasks,
        "opened": folder is not None,
    }
    if folder is None:
        return told
    manifests, config = folder.manifests(), folder.record.config
    return {
        **told,
        "as_of": folder.record.as_of,
        "deliveries": [delivery["name"] for delivery in folder.record.deliveries or []],
        "parameters": parameters(config),
        "about": {"labels": config["labels"], "chip_class": config["chip_class"]},
        "evaluation": _part(manifests.get("evaluate"), EVALUATION),
        "comparison": _comparison(manifests.get("compare")),
        "model": attempt_name(manifests["train"].uri) if "train" in manifests else None,
        "network": config["network"],
        "ledgers": ledgers(manifests, config["chip_class"]),
        "splits": manifests["featurize"].metrics.get("faces") if "featurize" in manifests else None,
        "figures": [
            {"stage": stage, "path": file.path, "name": file.path.removesuffix(".png")}
            for stage, manifest in manifests.items()
            for file in manifest.files
            if file.path.endswith(".png")
        ],
        "pages": {
            page.name: [name, page.file, page.title]
            for name, stage in STAGES.items()
            for page in stage.pages
            if _holds(manifests, name, page.file)
        },
        "mlflow": mlflow_page(manifests["train"].metrics) if "train" in manifests else None,
        "failure": _failure(run, folder),
    }


def _part(manifest: Manifest | None, names: tuple[str, ...]) -> dict[str, Any] | None:
    return {name: manifest.metrics[name] for name in names if name in manifest.metrics} if manifest else None


def _comparison(manifest: Manifest | None) -> dict[str, Any] | None:
    told = _part(manifest, COMPARISON)
    if told:
        told["models"] = {
            role: {**model, "attempt": attempt_name(model["attempt"])} for role, model in told["models"].items()
        }
    return told


def _holds(manifests: Mapping[str, Manifest], stage: str, path: str) -> bool:
    return stage in manifests and any(file.path == path for file in manifests[stage].files)


def _failure(run: AirflowRun, folder: RunFolder) -> dict[str, Any] | None:
    """What the job of the failed task said: kind, message and advice. The traceback is for the log."""
    for task in run.tasks:
        if task["state"] == "failed" and task["started"]:
            error = _error(folder, task["task"].rpartition(".")[2], task["started"])
            if error:
                return {"task": task["task"], **{name: error.get(name, "") for name in ("kind", "message", "advice")}}
    return None


def _error(folder: RunFolder, stage: str, started: str) -> dict[str, Any] | None:
    """The run's first `error.json` of a stage since a task started; no run pins an attempt that failed."""
    since = started[:19].replace("-", "").replace(":", "")  # as attempts are named
    for attempt, uri in sorted(layout.list_errors(folder.root, stage).items()):
        if attempt >= since:
            try:
                error = dict(storage.read_json(uri))
            except (TypeError, ValueError) as damage:  # as where the disk was full
                log.warning("%s: %s", uri, damage)
                continue
            if error.get("run") == folder.slug:
                return error
    return None
