"""Links on the tasks' pages: the report, the MLflow run, Spark's history of the job.

Airflow makes the links when a task's process ends and keeps them in XCom, from which its pages read them. They depend
on what the task pushed; a task that pushed nothing has no links.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink
from airflow.sdk.execution_time.xcom import XCom

from ml.config.deployment import load_deployment
from ml.flow.table import find_stage
from open_images.addresses import mlflow_page, report_page

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey

HISTORY_SERVER = "spark.yarn.historyServer.address"  # Spark uses this name with every master, not only YARN


class ReportLink(BaseOperatorLink):
    """The link to the page that the stage wrote."""

    name = "Report"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """Return the address of the page, or an empty string."""
        if not find_stage(operator.stage).pages or not pushed(ti_key):
            return ""
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
        settings = load_deployment().spark_conf
        server = settings.get(HISTORY_SERVER, "").rstrip("/")
        application = pushed(ti_key).get("spark_application")
        if not server or not application or settings.get("spark.eventLog.enabled") != "true":
            return ""
        return f"{server if '://' in server else f'http://{server}'}/history/{application}/"


def pushed(ti_key: TaskInstanceKey) -> Mapping[str, Any]:
    """Return what a stage's task pushed (see `xcom_value`); empty if the task failed."""
    return XCom.get_value(ti_key=ti_key, key="return_value") or {}
