"""The data of the tab 'Report' of runs that promote or compare models."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ml import storage
from ml.errors import DataError
from ml.metrics.records import EvaluationSummary
from ml.workflow import layout
from ml.workflow.layout import attempt_name
from ml.workflow.manifest import Manifest
from open_images.web.airflow_runs import AirflowRun
from open_images.web.folders import RunFolder, read_run
from open_images.web.report import about, comparison, figures, pages, part, run_state

log = logging.getLogger(__name__)
TrainingRuns = Callable[[str], bool]  # whether Airflow has a training run with that id


def promotion_report(run: AirflowRun, folder: RunFolder | None, known: TrainingRuns) -> dict[str, Any]:
    """Return the verdict and the decision of a promotion, and both models, as JSON values.

    Args:
        run: The run in Airflow's database.
        folder: Its folder; None if the run has not chosen a candidate.
        known: Whether Airflow has a training run with that id; others have no page to link to.
    """
    shown = run_state(run, folder)
    if folder is None:
        return shown
    uri = layout.run_uri(folder.root, folder.slug)
    promotion = _read(layout.promotion_uri(uri)) or {}
    roles = {role: _version(folder, promotion.get(role), known) for role in ("candidate", "champion")}
    return {
        **shown,
        **_common(folder),
        "models": {role: version for role, version in roles.items() if version},
        "verdict": _read(layout.verdict_uri(uri)),
        "decision": _read(layout.decision_uri(uri)),
    }


def comparison_report(run: AirflowRun, folder: RunFolder | None) -> dict[str, Any]:
    """Return the comparison of two models as JSON values."""
    return {**run_state(run, folder), **(_common(folder) if folder else {})}


def _common(folder: RunFolder) -> dict[str, Any]:
    manifests, config = folder.manifests(), folder.record.config
    return {
        "about": about(config["chip_class"], config["labels"]),
        "comparison": comparison(manifests.get("compare")),
        "pages": pages(manifests),
        "figures": figures(manifests),
    }


def _version(folder: RunFolder, version: dict[str, Any] | None, known: TrainingRuns) -> dict[str, Any] | None:
    """Return what the tab shows of a version as a promotion recorded it; parts that were removed since are None."""
    if not version:
        return None
    trained = folder.attempt("train", str(version["train"]))
    evaluated = folder.attempt("evaluate", str(version["evaluate"]))
    run_id = _run_id(folder, str(version["run"]))
    return {
        **{name: version[name] for name in ("number", "as_of", "accuracy")},
        "model": attempt_name(str(version["train"])),
        "run_id": run_id if run_id and known(run_id) else None,
        "evaluation": part(evaluated, EvaluationSummary),
        "history": _history(trained),
        "best_epoch": trained.metrics.get("best_epoch") if trained else None,
    }


def _run_id(folder: RunFolder, uri: str) -> str | None:
    """Return the id of a training run, given its folder; None if it was removed."""
    root, slug = layout.split_run_uri(uri)
    try:
        found = read_run(root, slug) if root == folder.root else None
    except DataError as damage:
        log.warning("%s", damage)
        return None
    return found.run_id if found else None


def _history(trained: Manifest | None) -> list[dict[str, Any]] | None:
    """Return the epochs of a training."""
    uri = str(trained.metrics.get("history", "")) if trained else ""
    return _read(uri) if trained and uri.startswith(trained.uri + "/") else None


def _read(uri: str) -> Any:
    """Read a JSON file; return None if it is missing or damaged."""
    try:
        return storage.read_json(uri)
    except FileNotFoundError:
        return None
    except ValueError as damage:  # for example after a full disk
        log.warning("%s: %s", uri, damage)
        return None
