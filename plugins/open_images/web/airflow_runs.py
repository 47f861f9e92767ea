"""The runs in Airflow's database of the DAGs whose runs the pages show."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow.models import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from ml.flow.table import STAGES
from open_images.errors import FAILURE, REASON

TRAINING, PROMOTION = "open_images_training", "open_images_promotion"
PREDICTION, COMPARISON, SWEEP = "open_images_prediction", "open_images_comparison", "open_images_sweep"
FLOWS = {
    TRAINING: "training",
    PROMOTION: "promotion",
    PREDICTION: "prediction",
    COMPARISON: "comparison",
    SWEEP: "sweep",
}
OPEN_RUN = "open_run"  # the training DAG's first task, which is skipped if there is nothing new
# The tasks of all these DAGs, in the order in which the pages show them; those that open a run come first.
ORDER = (*STAGES, "gate", "approve", "promote", "refuse", "move_back", "predict")


@dataclass(frozen=True)
class AirflowRun:
    """A run of a DAG.

    Attributes:
        run_id: The id of the run.
        state: queued, running, success or failed.
        run_type: manual, scheduled, backfill or asset_triggered.
        run_after: When it was due.
        tasks: Its tasks in the order of the flow, each with `task`, `state`, `try_number`, `started`, `finished`,
            `failure` (why it failed: `kind`, `message` and `advice`) and `reason` (why it was skipped); empty in a list
            of runs.
        why: In a list of runs, why the run was skipped or failed, as far as its tasks said so.
    """

    run_id: str
    state: str
    run_type: str
    run_after: str
    tasks: tuple[dict[str, Any], ...] = ()
    why: str | None = None


def find_airflow_run(session: Session, dag_id: str, run_id: str) -> AirflowRun | None:
    """Return a run of a DAG with its tasks, or None if there is no run with that id."""
    run = session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
    if run is None:
        return None
    tasks = session.scalars(select(TaskInstance).where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id))
    outcomes = _outcomes(session, XComModel.dag_id == dag_id, XComModel.run_id == run_id)
    told = {(task, key): value for _, task, key, value in outcomes}
    ordered = tuple(sorted((_task(task, told) for task in tasks), key=_place))
    return AirflowRun(run.run_id, str(run.state), str(run.run_type), run.run_after.isoformat(), ordered)


def list_airflow_runs(session: Session) -> list[AirflowRun]:
    """List all runs of the training DAG, newest first."""
    columns = (DagRun.run_id, DagRun.state, DagRun.run_type, DagRun.run_after)
    rows = session.execute(select(*columns).where(DagRun.dag_id == TRAINING).order_by(DagRun.run_after.desc()))
    why: dict[str, str] = {}
    for run_id, task, key, value in _outcomes(session, XComModel.dag_id == TRAINING):
        if key == FAILURE and isinstance(value, Mapping):
            why[run_id] = f"{task}: {value.get('message', '')}"
        elif key == REASON and task == OPEN_RUN:  # other tasks are skipped in runs that trained a model too
            why.setdefault(run_id, str(value))
    return [
        AirflowRun(row.run_id, str(row.state), str(row.run_type), row.run_after.isoformat(), why=why.get(row.run_id))
        for row in rows
    ]


def _outcomes(session: Session, *where: Any) -> list[tuple[str, str, str, Any]]:
    """Return what tasks said about their failure or skipping: run, task, key and value."""
    rows = session.execute(
        select(XComModel.run_id, XComModel.task_id, XComModel.key, XComModel.value).where(
            XComModel.key.in_((FAILURE, REASON)), *where
        )
    )
    return [(row.run_id, row.task_id, row.key, XComModel.deserialize_value(row)) for row in rows]


def _task(task: TaskInstance, told: Mapping[tuple[str, str], Any]) -> dict[str, Any]:
    failure = told.get((task.task_id, FAILURE))
    return {
        "task": task.task_id,
        "state": task.state and str(task.state),
        "try_number": task.try_number,
        "started": _time(task.start_date),
        "finished": _time(task.end_date),
        "failure": dict(failure) if isinstance(failure, Mapping) else None,
        "reason": told.get((task.task_id, REASON)),
    }


def _place(task: dict[str, Any]) -> int:
    name = task["task"].rpartition(".")[2]
    return ORDER.index(name) if name in ORDER else -1


def _time(time: datetime.datetime | None) -> str | None:
    return time.isoformat() if time else None
