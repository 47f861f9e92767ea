"""All runs of the training flow, as rows for charts and tables, and the decisions about their models."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from ml import storage
from ml.errors import DataError
from ml.report.ledger import parameters
from ml.workflow import layout
from ml.workflow.layout import attempt_name
from open_images.addresses import mlflow_page
from open_images.web.airflow_runs import AirflowRun
from open_images.web.folders import list_runs, read_run

log = logging.getLogger(__name__)
# Parameters that say how a run was started, and not how its model was made.
OF_THE_RUN = frozenset(("as_of", "baseline", "force", "retrain_without_news"))


def history(root: str, runs: Iterable[AirflowRun]) -> list[dict[str, Any]]:
    """Return a row for each run, sorted by the time of its data, or else by the time at which it was due.

    A run from a shell has no `state`. A run without a folder has only what Airflow knows, and `why` it was skipped or
    failed. `parameters` has only those that differ between the runs.

    Args:
        root: The storage root.
        runs: The runs in Airflow's database.
    """
    known = {run.run_id: run for run in runs}
    rows = []
    for name, version in list_runs(root).items():
        if row := _row(root, name, version):
            rows.append({**row, **_state(known.pop(row["run_id"], None))})
    differing = _differing([row["parameters"] for row in rows])
    for row in rows:
        row["parameters"] = {name: value for name, value in row["parameters"].items() if name in differing}
    rows += [{"run_id": run.run_id, **_state(run)} for run in known.values()]
    return sorted(rows, key=lambda row: str(row.get("as_of") or row.get("run_after") or row.get("finished") or ""))


def _differing(rows: list[Mapping[str, str]]) -> set[str]:
    """Return the names whose values differ between rows; a parameter that an older run lacks counts as empty."""
    names = {name for row in rows for name in row}
    return {name for name in names if len({row.get(name, "") for row in rows}) > 1}


def _state(run: AirflowRun | None) -> dict[str, Any]:
    if run is None:
        return {}
    return {"state": run.state, "run_type": run.run_type, "run_after": run.run_after, "why": run.why}


@functools.lru_cache(maxsize=4096)
def _row(root: str, name: str, version: str) -> dict[str, Any] | None:
    """Return the row of a run folder; cached until the folder's version changes."""
    try:
        folder = read_run(root, name)
    except DataError as error:
        log.warning("%s", error)  # one damaged folder must not hide the other runs
        return None
    if folder is None:
        return None
    features, trained, evaluated = (folder.manifest(stage) for stage in ("featurize", "train", "evaluate"))
    config = folder.record.config
    row: dict[str, Any] = {
        "run_id": folder.run_id,
        "as_of": folder.record.as_of,
        "network": config["network"],
        "parameters": {each.name: each.value for each in parameters(config) if each.name not in OF_THE_RUN},
        "deliveries": len(folder.record.deliveries or []),
        "mlflow": mlflow_page(trained.metrics) if trained else None,
    }
    if features:
        faces = features.metrics["faces"]
        row["faces"] = {split: sum(by_label.values()) for split, by_label in faces.items()}
    if trained:
        row |= {"model": attempt_name(trained.uri), "train": trained.uri, "finished": trained.finished}
    if evaluated:
        row |= {name: evaluated.metrics.get(name) for name in ("accuracy", "majority", "beats_majority", "worst_slice")}
        row |= {"evaluation": attempt_name(evaluated.uri), "finished": evaluated.finished}
    return row


def decisions(root: str) -> list[dict[str, Any]]:
    """Return the decisions of all promotions, oldest first.

    Each has `run_id` of the promotion, `model` and `number` of the version, `decision`, `how`, `at` (empty for a
    decision that an older version of the program recorded), and `compared`: whether it compared the version with the
    champion.
    """
    found = [made for name, version in list_runs(root).items() if (made := _decision(root, name, version))]
    return sorted(found, key=lambda made: str(made["at"]))


@functools.lru_cache(maxsize=4096)
def _decision(root: str, name: str, version: str) -> dict[str, Any] | None:
    """Return the decision of a promotion's folder; cached until the folder's version changes."""
    uri = layout.run_uri(storage.normalize(root), name)
    try:
        folder = read_run(root, name, "promotion")
        if folder is None or not storage.exists(layout.decision_uri(uri)):
            return None
        made, promotion = (storage.read_json(each) for each in (layout.decision_uri(uri), layout.promotion_uri(uri)))
        return {
            "run_id": folder.run_id,
            "model": promotion["candidate"]["model"],
            "number": promotion["candidate"]["number"],
            "decision": made["decision"],
            "how": made["how"],
            "at": made.get("at", ""),
            "compared": folder.manifest("compare") is not None,
        }
    except (DataError, KeyError, TypeError, ValueError, FileNotFoundError) as error:  # damaged, or just being removed
        log.warning("%s: %s", uri, error)
        return None
