"""The data of the tab 'Report' of a run."""

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
from ml.report.formats import figure_name
from ml.report.ledger import ledgers, left_out, parameters
from ml.report.subject import subject_of
from ml.workflow import layout
from ml.workflow.layout import attempt_name
from ml.workflow.manifest import Manifest
from open_images.addresses import mlflow_page
from open_images.web.airflow_runs import AirflowRun
from open_images.web.folders import RunFolder
from open_images.web.training import training_progress

log = logging.getLogger(__name__)


def report(run: AirflowRun, folder: RunFolder | None) -> dict[str, Any]:
    """Return the data of a run's report as JSON values; what the run has not produced yet is None or empty.

    Args:
        run: The run in Airflow's database.
        folder: Its folder; None if the run has not opened it yet or was skipped.
    """
    known: dict[str, Any] = {
        "run": {"run_id": run.run_id, "state": run.state, "run_type": run.run_type, "run_after": run.run_after},
        "tasks": run.tasks,
        "opened": folder is not None,
    }
    if folder is None:
        return known
    manifests, config = folder.manifests(), folder.record.config
    splits = manifests["featurize"].metrics.get("faces") if "featurize" in manifests else None
    return {
        **known,
        "as_of": folder.record.as_of,
        "deliveries": [delivery["name"] for delivery in folder.record.deliveries or []],
        "parameters": [dataclasses.asdict(row) for row in parameters(config)],
        "about": about(config["chip_class"], config["labels"]),
        "evaluation": _part(manifests.get("evaluate"), EvaluationSummary),
        "comparison": _comparison(manifests.get("compare")),
        "training": None if "train" in manifests else training_progress(folder),
        "model": attempt_name(manifests["train"].uri) if "train" in manifests else None,
        "network": config["network"],
        "ledgers": [
            dataclasses.asdict(ledger)
            for ledger in ledgers({name: found.ledger for name, found in manifests.items()}, config["chip_class"])
        ],
        "splits": splits,
        "left_out": left_out(manifests["featurize"].ledger, splits or ()) if "featurize" in manifests else {},
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
    """Return what the labels are and what a model must not be used for; None if they are not about people."""
    found = subject_of(chip_class, labels)
    if not found.people:
        return None
    return {"title": found.title, "text": f"{found.statement} {found.limits}", "must_not": list(found.must_not)}


def _part(manifest: Manifest | None, kind: type[Record]) -> dict[str, Any] | None:
    """Return the metrics of a stage that a record names; manifests of older versions may lack some."""
    if manifest is None:
        return None
    return {name: manifest.metrics[name] for name in kind.model_fields if name in manifest.metrics}


def _figures(manifests: Mapping[str, Manifest]) -> list[dict[str, Any]]:
    """Return the figures of all stages with their captions, in the order of the report."""
    order = list(CAPTIONS)
    found = []
    for stage, manifest in manifests.items():
        for path in (file.path for file in manifest.files):
            if not (name := figure_name(path)):
                continue
            # The evaluation holds a copy of the training curves.
            if stage == "train" and _holds(manifests, "evaluate", path):
                continue
            shown = caption(name)
            place = order.index(name) if name in CAPTIONS else len(order)
            row = {"stage": stage, "path": path, "text": shown.text, "group": shown.group, "wide": bool(shown.kind)}
            found.append((place, row))
    return [row for _, row in sorted(found, key=lambda each: each[0])]


def _comparison(manifest: Manifest | None) -> dict[str, Any] | None:
    found = _part(manifest, ComparisonSummary)
    if found:
        found["models"] = {
            role: {**model, "attempt": attempt_name(model["attempt"])} for role, model in found["models"].items()
        }
    return found


def _holds(manifests: Mapping[str, Manifest], stage: str, path: str) -> bool:
    return stage in manifests and any(file.path == path for file in manifests[stage].files)


def _failure(run: AirflowRun, folder: RunFolder) -> dict[str, Any] | None:
    """Return kind, message and advice from the failed task's job. The log has the traceback."""
    for task in run.tasks:
        if task["state"] == "failed" and task["started"]:
            error = _error(folder, task["task"].rpartition(".")[2], task["started"])
            if error:
                return {"task": task["task"], **{name: error.get(name, "") for name in ("kind", "message", "advice")}}
    return None


def _error(folder: RunFolder, stage: str, started: str) -> dict[str, Any] | None:
    """Return the run's first `error.json` of a stage since a task started; runs do not pin failed attempts."""
    since = started[:19].replace("-", "").replace(":", "")  # the format of attempt names
    for attempt, uri in sorted(layout.list_errors(folder.root, stage).items()):
        if attempt >= since:
            try:
                error = dict(storage.read_json(uri))
            except (TypeError, ValueError) as damage:  # for example after a full disk
                log.warning("%s: %s", uri, damage)
                continue
            if error.get("run") == folder.slug:
                return error
    return None
