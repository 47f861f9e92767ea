"""Links on the tasks' pages: the report, the MLflow run, Spark's history of the job.

Airflow makes the links when a task's process ends and keeps them in XCom, from which its pages read them. They depend
on what the task pushed. Airflow shows a heading for the links of a task even if all of them are empty, so a task has
only the links that it can have in this deployment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink
from airflow.sdk.execution_time.xcom import XCom

from ml.config.deployment import Deployment, load_deployment
from ml.flow.stage import Stage
from ml.flow.table import PREDICT, find_stage
from open_images.addresses import mlflow_page, report_page, report_tab

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey

HISTORY_SERVER = "spark.yarn.historyServer.address"  # Spark uses this name with every master, not only YARN


class ReportLink(BaseOperatorLink):
    """The link to the page that the stage wrote, or else to the run's tab 'Report', which says why there is none."""

    name = "Report"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """Return the address of the page."""
        if not find_stage(operator.stage).pages or not pushed(ti_key):
            return report_tab(ti_key.dag_id, ti_key.run_id)
        return report_page(ti_key.dag_id, ti_key.run_id, operator.stage)


class MlflowLink(BaseOperatorLink):
    """The link to the MLflow run of a training, if there is a tracking server."""

    name = "MLflow"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """Return the address of the page, or an empty string."""
        return mlflow_page(pushed(ti_key)) or ""


class SparkHistoryLink(BaseOperatorLink):
    """The link to the job in Spark's history server, if the deployment's `spark_conf` names one and logs events."""

    name = "Spark history"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """Return the address of the page, or an empty string."""
        server = history_server(load_deployment())
        application = pushed(ti_key).get("spark_application")
        if not server or not application:
            return ""
        return f"{server if '://' in server else f'http://{server}'}/history/{application}/"


def history_server(deployment: Deployment) -> str:
    """Return the address of Spark's history server; empty if the deployment names none or logs no events."""
    settings = deployment.spark_conf
    return settings.get(HISTORY_SERVER, "").rstrip("/") if settings.get("spark.eventLog.enabled") == "true" else ""


def links_of(stage: Stage, deployment: Deployment) -> tuple[BaseOperatorLink, ...]:
    """Return the links that a stage's task can have in a deployment."""
    links: list[tuple[bool, BaseOperatorLink]] = [
        (bool(stage.pages) or stage is PREDICT, ReportLink()),
        (stage.name == "train" and deployment.mlflow is not None, MlflowLink()),
        (stage.engine == "spark" and bool(history_server(deployment)), SparkHistoryLink()),
    ]
    return tuple(link for possible, link in links if possible)


def pushed(ti_key: TaskInstanceKey) -> Mapping[str, Any]:
    """Return what a stage's task pushed (see `xcom_value`); empty if the task failed."""
    return XCom.get_value(ti_key=ti_key, key="return_value") or {}
