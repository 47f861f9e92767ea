"""What the tab 'Report' of a run shows."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

from ml import storage
from ml.flow.record import Record
from ml.flow.table import STAGES
from ml.metrics.records import ComparisonSummary, EvaluationSummary
from ml.report.captions import CAPTIONS, caption
from ml.report.ledger import ledgers, parameters
from ml.report.subject import subject_of
from ml.workflow import layout
from ml.workflow.layout import attempt_name
from ml.workflow.manifest import Manifest
from open_images.addresses import mlflow_page
from open_images.web.airflow_runs import AirflowRun
from open_images.web.folders import RunFolder

log = logging.getLogger(__name__)


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
        "parameters": [dataclasses.asdict(row) for row in parameters(config)],
        "about": about(config["chip_class"], config["labels"]),
        "evaluation": _part(manifests.get("evaluate"), EvaluationSummary),
        "comparison": _comparison(manifests.get("compare")),
        "model": attempt_name(manifests["train"].uri) if "train" in manifests else None,
        "network": config["network"],
        "ledgers": [
            dataclasses.asdict(ledger)
            for ledger in ledgers({name: found.ledger for name, found in manifests.items()}, config["chip_class"])
        ],
        "splits": manifests["featurize"].metrics.get("faces") if "featurize" in manifests else None,
        "figures": _figures(manifests),
        "pages": {
            page.name: [name, page.file, page.title]
            for name, stage in STAGES.items()
            for page in stage.pages
            if _holds(manifests, name, page.file)
        },
        "mlflow": mlflow_page(manifests["train"].metrics) if "train" in manifests else None,
        "failure": _failure(run, folder),
    }


def about(chip_class: str, labels: Mapping[str, list[str]]) -> dict[str, Any] | None:
    """Return what the labels are and what a model must not be used for; None where they are not about people."""
    found = subject_of(chip_class, labels)
    if not found.people:
        return None
    return {"title": found.title, "text": f"{found.statement} {found.limits}", "must_not": list(found.must_not)}


def _part(manifest: Manifest | None, kind: type[Record]) -> dict[str, Any] | None:
    """Return those of a stage's metrics that a record holds, as far as that version of the program stated them."""
    if manifest is None:
        return None
    return {name: manifest.metrics[name] for name in kind.model_fields if name in manifest.metrics}


def _figures(manifests: Mapping[str, Manifest]) -> list[dict[str, Any]]:
    """Return the figures of all stages with their captions, in the order of the report."""
    order = list(CAPTIONS)
    found = []
    for stage, manifest in manifests.items():
        for path in (file.path for file in manifest.files if file.path.endswith(".png")):
            name = path.removesuffix(".png")
            # The evaluation keeps the curves of the training as well.
            if stage == "train" and _holds(manifests, "evaluate", path):
                continue
            shown = caption(name)
            place = order.index(name) if name in CAPTIONS else len(order)
            row = {"stage": stage, "path": path, "text": shown.text, "group": shown.group, "wide": bool(shown.kind)}
            found.append((place, row))
    return [row for _, row in sorted(found, key=lambda each: each[0])]


def _comparison(manifest: Manifest | None) -> dict[str, Any] | None:
    told = _part(manifest, ComparisonSummary)
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
