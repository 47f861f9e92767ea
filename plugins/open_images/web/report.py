"""The data of the tab 'Report' of a training run, and what all runs' tabs have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml.flow.record import Record
from ml.flow.table import ALL_STAGES
from ml.metrics.records import ComparisonSummary, EvaluationSummary
from ml.report.captions import CAPTIONS, caption
from ml.report.formats import figure_name
from ml.report.ledger import ledgers, left_out, parameters
from ml.report.subject import subject_of
from ml.workflow.layout import attempt_name
from ml.workflow.manifest import Manifest
from open_images.addresses import mlflow_page
from open_images.web.airflow_runs import AirflowRun
from open_images.web.folders import RunFolder
from open_images.web.training import training_progress

FAILED = ("failed", "up_for_retry")  # states of a task whose latest try failed


def report(run: AirflowRun, folder: RunFolder | None) -> dict[str, Any]:
    """Return the data of a run's report as JSON values; what the run has not produced yet is None or empty.

    Args:
        run: The run in Airflow's database.
        folder: Its folder; None if the run has not opened it yet or was skipped.
    """
    known = run_state(run, folder)
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
        "evaluation": part(manifests.get("evaluate"), EvaluationSummary),
        "comparison": comparison(manifests.get("compare")),
        "training": None if "train" in manifests else training_progress(folder),
        "model": attempt_name(manifests["train"].uri) if "train" in manifests else None,
        "network": config["network"],
        "ledgers": [
            dataclasses.asdict(ledger)
            for ledger in ledgers({name: found.ledger for name, found in manifests.items()}, config["chip_class"])
        ],
        "splits": splits,
        "left_out": left_out(manifests["featurize"].ledger, splits or ()) if "featurize" in manifests else {},
        "figures": figures(manifests),
        "pages": pages(manifests),
        "mlflow": mlflow_page(manifests["train"].metrics) if "train" in manifests else None,
    }


def run_state(run: AirflowRun, folder: RunFolder | None) -> dict[str, Any]:
    """Return the run, its tasks, whether its folder exists, and what its first failed task says about the failure."""
    failed = (task for task in run.tasks if task["state"] in FAILED and task["failure"])
    failure = next(({"task": task["task"], **task["failure"]} for task in failed), None)
    return {
        "run": {"run_id": run.run_id, "state": run.state, "run_type": run.run_type, "run_after": run.run_after},
        "tasks": run.tasks,
        "opened": folder is not None,
        "failure": failure,
    }


def about(chip_class: str, labels: Mapping[str, list[str]]) -> dict[str, Any] | None:
    """Return what the labels are and what a model must not be used for; None if they are not about people."""
    found = subject_of(chip_class, labels)
    if not found.people:
        return None
    return {"title": found.title, "text": f"{found.statement} {found.limits}", "must_not": list(found.must_not)}


def part(manifest: Manifest | None, kind: type[Record]) -> dict[str, Any] | None:
    """Return the metrics of a stage that a record names; manifests of older versions may lack some."""
    if manifest is None:
        return None
    return {name: manifest.metrics[name] for name in kind.model_fields if name in manifest.metrics}


def pages(manifests: Mapping[str, Manifest]) -> dict[str, list[str]]:
    """Return the pages that the stages of a run wrote: stage, file and title by the page's name."""
    return {
        page.name: [name, page.file, page.title]
        for name, stage in ALL_STAGES.items()
        for page in stage.pages
        if _holds(manifests, name, page.file)
    }


def figures(manifests: Mapping[str, Manifest]) -> list[dict[str, Any]]:
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


def comparison(manifest: Manifest | None) -> dict[str, Any] | None:
    """Return the numbers of stage compare, with the names of the attempts; None without that stage."""
    found = part(manifest, ComparisonSummary)
    if found:
        found["models"] = {
            role: {**model, "attempt": attempt_name(model["attempt"])} for role, model in found["models"].items()
        }
    return found


def _holds(manifests: Mapping[str, Manifest], stage: str, path: str) -> bool:
    return stage in manifests and any(file.path == path for file in manifests[stage].files)
