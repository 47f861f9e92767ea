"""Addresses of the pages about a run: its reports, and its training in MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from airflow.sdk.configuration import conf

from ml.flow.table import find_stage

URL_PREFIX = "/open-images"  # of the project's routes in Airflow's API server


def report_page(dag_id: str, run_id: str, stage: str) -> str:
    """Return the address of a stage's report in a run."""
    dag, run = (quote(part, safe="") for part in (dag_id, run_id))
    return f"{_base()}{URL_PREFIX}/runs/{dag}/{run}/files/{stage}/{find_stage(stage).pages[0].file}"


def report_tab(dag_id: str, run_id: str) -> str:
    """Return the address of the tab 'Report' of a run, which exists as soon as the run does."""
    dag, run = (quote(part, safe="") for part in (dag_id, run_id))
    return f"{_base()}/dags/{dag}/runs/{run}/plugin/report"


def _base() -> str:
    return conf.get("api", "base_url", fallback="").rstrip("/")


def mlflow_page(metrics: Mapping[str, Any]) -> str | None:
    """Return the address of a training's MLflow run, from the metrics of stage train; None without a server."""
    # Imported here because every component of Airflow loads this module, and few need MLflow.
    from ml.model.record import MlflowRun
    from ml.tracking import experiments

    if not metrics.get("mlflow"):
        return None
    run = MlflowRun.model_validate(metrics["mlflow"])
    return experiments.run_page(run.tracking_uri, run.experiment_id, run.run_id)
