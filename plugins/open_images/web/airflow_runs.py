"""The runs in Airflow's database of the DAGs that write reports."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from airflow.models import DagRun
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import select
from sqlalchemy.orm import Session

from ml.flow.table import STAGES

TRAINING, PROMOTION, SWEEP = "open_images_training", "open_images_promotion", "open_images_sweep"


@dataclass(frozen=True)
class AirflowRun:
    """A run of a DAG.

    Attributes:
        run_id: The id of the run.
        state: queued, running, success or failed.
        run_type: manual, scheduled, backfill or asset_triggered.
        run_after: When it was due.
        tasks: Its tasks in the order of the flow, each with `task`, `state`, `try_number`, `started` and `finished`;
            empty in a list of runs.
    """

    run_id: str
    state: str
    run_type: str
    run_after: str
    tasks: tuple[dict[str, Any], ...] = ()


def find_airflow_run(session: Session, dag_id: str, run_id: str) -> AirflowRun | None:
    """Return a run of a DAG with its tasks, or None if there is no run with that id."""
    run = session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
    if run is None:
        return None
    tasks = session.scalars(select(TaskInstance).where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id))
    ordered = tuple(sorted(map(_task, tasks), key=_place))
    return AirflowRun(run.run_id, str(run.state), str(run.run_type), run.run_after.isoformat(), ordered)


def list_airflow_runs(session: Session) -> list[AirflowRun]:
    """List all runs of the training DAG, newest first."""
    columns = (DagRun.run_id, DagRun.state, DagRun.run_type, DagRun.run_after)
    rows = session.execute(select(*columns).where(DagRun.dag_id == TRAINING).order_by(DagRun.run_after.desc()))
    return [AirflowRun(row.run_id, str(row.state), str(row.run_type), row.run_after.isoformat()) for row in rows]


def _task(task: TaskInstance) -> dict[str, Any]:
    return {
        "task": task.task_id,
        "state": task.state and str(task.state),
        "try_number": task.try_number,
        "started": _time(task.start_date),
        "finished": _time(task.end_date),
    }


def _place(task: dict[str, Any]) -> int:
    order, stage = list(STAGES), task["task"].rpartition(".")[2]
    return order.index(stage) if stage in order else -1  # the task that opens the run comes first


def _time(time: datetime.datetime | None) -> str | None:
    return time.isoformat() if time else None
