"""Links on the tasks' pages: the report, the MLflow run, Spark's history of the job.

A task's process asks for them when it ends and keeps each in XCom, from where the pages have it. They are made of what
the task itself has pushed; a task that pushed nothing has none.
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

HISTORY_SERVER = "spark.yarn.historyServer.address"  # Spark's own name of that setting, whatever its master


class ReportLink(BaseOperatorLink):
    """To the page that the stage wrote."""

    name = "Report"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """The address of the page, or an empty text."""
        if not find_stage(operator.stage).pages or not pushed(ti_key):
            return ""
        return report_page(ti_key.dag_id, ti_key.run_id, operator.stage)


class MlflowLink(BaseOperatorLink):
    """To the MLflow run of a training, where there is a tracking server."""

    name = "MLflow"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """The address of the page, or an empty text."""
        return mlflow_page(pushed(ti_key)) or ""


class SparkHistoryLink(BaseOperatorLink):
    """To the job in Spark's history server, where the deployment's `spark_conf` names one and keeps event logs."""

    name = "Spark history"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """The address of the page, or an empty text."""
        settings = load_deployment().spark_conf
        server = settings.get(HISTORY_SERVER, "").rstrip("/")
        application = pushed(ti_key).get("spark_application")
        if not server or not application or settings.get("spark.eventLog.enabled") != "true":
            return ""
        return f"{server if '://' in server else f'http://{server}'}/history/{application}/"


def pushed(ti_key: TaskInstanceKey) -> Mapping[str, Any]:
    """What a stage's task has pushed, see `xcom_value`; empty where it did not end well."""
    return XCom.get_value(ti_key=ti_key, key="return_value") or {}
