"""Backfills of a DAG in a running Airflow."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import airflow_environment
from ml.flow.table import STAGES
from open_images.operators.tasks import GROUPS
from support.airflow_root import Airflow, wait_for

DAG = "open_images_training"


class Backfills(Airflow):
    """A running Airflow and the runs of one of its DAGs by interval."""

    def runs(self, run_type: str) -> dict[str, dict[str, Any]]:
        """Return the runs of a type by the month of their interval's start, or by id if they have no interval."""
        found = self.get(f"/dagRuns?limit=100&run_type={run_type}")["dag_runs"]
        return {(run["logical_date"] or run["dag_run_id"])[:7]: run for run in found}

    def pushed(self, run_id: str, stage: str) -> Any:
        """Return the XCom of a stage's task."""
        return self.xcom(run_id, f"{GROUPS[STAGES[stage].engine]['group_id']}.{stage}")

    def backfill(self, *options: str) -> str:
        done = subprocess.run(
            ["airflow", "backfill", "create", "--dag-id", self.dag, *options],
            env={**os.environ, **airflow_environment.environment(self.root)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout

    def wait_for_backfill(self) -> None:
        def over() -> bool:
            return all(
                backfill["completed_at"] for backfill in self.ask("GET", f"/backfills?dag_id={self.dag}")["backfills"]
            )

        wait_for("the end of the backfill", over, 2400)
