"""Links on the tasks' pages: made from what the task pushed, and empty if there is nothing to show."""

import json
from types import SimpleNamespace

import pytest

RUN = "manual__2026-01-02T12:00:00+00:00"
TASK = SimpleNamespace(dag_id="open_images_training", run_id=RUN, task_id="a task", map_index=-1)


@pytest.fixture
def address(monkeypatch, tmp_path):
    """The address of an operator's link, by its name, after the task has pushed something."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example/below/")
    from airflow.sdk.execution_time.xcom import XCom

    from ml.flow.table import find_stage
    from open_images.operators.process import ProcessStageOperator
    from open_images.operators.spark import SparkStageOperator

    def address_(name, stage, pushed, mlflow="https://mlflow.example", **spark_conf):
        settings = {key.replace("_", "."): value for key, value in spark_conf.items()}
        (tmp_path / "deployment.yaml").write_text(json.dumps({"spark_conf": settings, "mlflow": mlflow}))
        monkeypatch.setenv("OPEN_IMAGES_CONFIG", str(tmp_path / "deployment.yaml"))
        monkeypatch.setattr(XCom, "get_value", lambda ti_key, key: pushed if ti_key is TASK else None)
        kind = ProcessStageOperator if find_stage(stage).engine == "process" else SparkStageOperator
        operator = kind(task_id=stage, stage=stage, run="file:///run")
        links = [link for link in operator.operator_extra_links if link.name == name]
        return links[0].get_link(operator, ti_key=TASK) if links else None

    return address_


@pytest.mark.parametrize(
    ("stage", "page"), [("evaluate", "report.html"), ("suspects", "suspects.html"), ("compare", "compare.html")]
)
def test_a_report_is_linked_where_the_route_hands_it_out(address, stage, page):
    run = "manual__2026-01-02T12%3A00%3A00%2B00%3A00"
    folder = f"https://airflow.example/below/open-images/runs/open_images_training/{run}/files"
    assert address("Report", stage, {"accuracy": {}}) == f"{folder}/{stage}/{page}"


def test_without_a_report_the_link_leads_to_the_tab_that_says_why(address):
    run = "manual__2026-01-02T12%3A00%3A00%2B00%3A00"
    tab = f"https://airflow.example/below/dags/open_images_training/runs/{run}/plugin/report"
    assert address("Report", "evaluate", None) == tab
    assert address("Report", "predict", {"faces": {}}) == tab


def test_a_task_has_only_the_links_that_it_can_have(address):
    """Airflow shows the heading 'Extra Links' over a list of empty ones."""
    assert address("Report", "train", {"epochs": 2}) is None
    assert address("MLflow", "train", {"epochs": 2}, mlflow=None) is None
    assert address("MLflow", "evaluate", {"epochs": 2}) is None
    assert address("Spark history", "chip", {"spark_application": "app-1"}) is None


def test_an_mlflow_run_is_linked_where_a_server_shows_it(address):
    told = {
        "run_id": "0a1b",
        "experiment_id": "7",
        "model_id": None,
        "tracking_uri": "https://user:secret@mlflow.example",
    }
    assert address("MLflow", "train", {"mlflow": told}) == "https://mlflow.example/#/experiments/7/runs/0a1b"
    assert address("MLflow", "train", {"mlflow": {**told, "tracking_uri": "sqlite:////mlflow.db"}}) == ""
    assert address("MLflow", "train", None) == ""


def test_a_spark_job_is_linked_where_a_history_server_keeps_it(address):
    kept = {"spark_eventLog_enabled": True, "spark_yarn_historyServer_address": "history:18080"}
    pushed = {"spark_application": "app-1"}
    assert address("Spark history", "chip", pushed, **kept) == "http://history:18080/history/app-1/"
    assert address("Spark history", "chip", {}, **kept) == ""
    assert address("Spark history", "chip", pushed, **{**kept, "spark_eventLog_enabled": False}) is None


def test_the_pages_know_the_links_of_a_serialised_task(address):
    from airflow.sdk import DAG
    from airflow.serialization.serialized_objects import DagSerialization

    from open_images.operators.process import ProcessStageOperator

    with DAG("links", schedule=None) as dag:
        ProcessStageOperator(task_id="evaluate", stage="evaluate", run="file:///run")
    serialised = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert serialised.get_task("evaluate").extra_links == ["Report"]
