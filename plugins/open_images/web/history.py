"""All runs of the training flow, as rows for charts and a table."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable
from typing import Any

from ml.errors import DataError
from ml.workflow.layout import attempt_name
from open_images.addresses import mlflow_page
from open_images.web.airflow_runs import AirflowRun
from open_images.web.folders import list_runs, read_run

log = logging.getLogger(__name__)


def history(root: str, runs: Iterable[AirflowRun]) -> list[dict[str, Any]]:
    """Return a row for each run, sorted by the time of its data, or else by the time at which it was due.

    A run from a shell has no `state`. A run without a folder has only what Airflow knows.

    Args:
        root: The storage root.
        runs: The runs in Airflow's database.
    """
    known = {run.run_id: run for run in runs}
    rows = []
    for name, version in list_runs(root).items():
        if row := _row(root, name, version):
            rows.append({**row, **_state(known.pop(row["run_id"], None))})
    rows += [{"run_id": run.run_id, **_state(run)} for run in known.values()]
    return sorted(rows, key=lambda row: str(row.get("as_of") or row.get("run_after") or row.get("finished") or ""))


def _state(run: AirflowRun | None) -> dict[str, Any]:
    return {"state": run.state, "run_type": run.run_type, "run_after": run.run_after} if run else {}


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
    row: dict[str, Any] = {
        "run_id": folder.run_id,
        "as_of": folder.record.as_of,
        "network": folder.record.config["network"],
        "deliveries": len(folder.record.deliveries or []),
        "mlflow": mlflow_page(trained.metrics) if trained else None,
    }
    if features:
        faces = features.metrics["faces"]
        row["faces"] = {split: sum(by_label.values()) for split, by_label in faces.items()}
    if trained:
        row |= {"model": attempt_name(trained.uri), "finished": trained.finished}
    if evaluated:
        row |= {name: evaluated.metrics.get(name) for name in ("accuracy", "majority", "beats_majority", "worst_slice")}
        row |= {"evaluation": attempt_name(evaluated.uri), "finished": evaluated.finished}
    return row
