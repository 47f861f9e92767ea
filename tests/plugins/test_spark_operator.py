"""What the operator of Spark stages hands to spark-submit, by cluster and store."""

from __future__ import annotations

import json
import os
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ml.environment import spark_home
from ml.errors import ConfigurationError

EXECUTORS = "./environment/bin/python"
KEYS = {"login": "an-id", "password": "a-key", "extra": {"endpoint_url": "http://127.0.0.1:1", "region_name": "here"}}


class Submitted(Exception):
    """Ends a job where spark-submit would start."""


@pytest.fixture
def restored() -> Iterator[None]:
    """The operator changes the environment of its process, which Airflow starts for one task."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def submit(monkeypatch, tmp_path, restored) -> Callable[..., Any]:
    """Returns the operator as it was when it called spark-submit, and the names in the archive of code."""
    from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator

    from open_images.operators.spark import SparkStageOperator

    def submit_(host: str, extra: dict[str, str] | None = None, **deployment: Any) -> Any:
        connection = {"conn_type": "spark", "host": host, "extra": extra or {}}
        monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", json.dumps(connection))
        (tmp_path / "deployment.yaml").write_text(yaml.safe_dump({"storage": str(tmp_path), **deployment}))
        monkeypatch.setenv("OPEN_IMAGES_CONFIG", str(tmp_path / "deployment.yaml"))
        operator = SparkStageOperator(task_id="extract", stage="extract", run=str(tmp_path / "runs" / "one"))

        def execute(self, context):
            self.sent = set(zipfile.ZipFile(self.py_files).namelist()) if self.py_files else set()
            raise Submitted

        monkeypatch.setattr(SparkSubmitOperator, "execute", execute)
        with pytest.raises(Submitted):
            operator.run_job({}, "attempt")
        return operator

    return submit_


def test_a_cluster_is_sent_the_code_and_this_machine_needs_none(submit):
    assert {"ml/storage.py", "spark_jobs/extract.py"} <= submit("spark://master").sent
    assert submit("local[2]").sent == set()


def test_a_job_uses_the_projects_spark_and_a_locale_for_all_names_of_files(submit, monkeypatch):
    monkeypatch.setenv("SPARK_HOME", "/opt/spark-3.5")
    monkeypatch.setenv("PATH", "/opt/spark-3.5/bin:/usr/bin")
    monkeypatch.setattr("locale.getencoding", lambda: "ANSI_X3.4-1968")
    submit("local[2]")
    assert os.environ["SPARK_HOME"] == str(spark_home())
    assert os.environ["LC_ALL"] == "C.UTF-8"
    assert shutil.which("spark-submit") == str(Path(sys.executable).with_name("spark-submit"))


def test_an_environment_that_lets_no_job_run_is_told_before_one_is_submitted(submit, monkeypatch):
    monkeypatch.setattr("ml.environment.user_name", lambda: None)
    with pytest.raises(ConfigurationError, match="has no name on this machine"):
        submit("local[2]")


def test_the_archive_of_code_is_gone_after_the_job(submit):
    assert not Path(submit("yarn").py_files).exists()


def test_a_driver_here_runs_this_python_where_executors_have_another(submit):
    conf = {"spark.pyspark.python": EXECUTORS}
    assert submit("yarn", spark_conf=conf).conf["spark.pyspark.driver.python"] == sys.executable
    assert "spark.pyspark.driver.python" not in submit("yarn", {"deploy-mode": "cluster"}, spark_conf=conf).conf
    assert "spark.pyspark.driver.python" not in submit("yarn").conf


def test_paths_of_this_machine_are_not_sent_to_containers(submit):
    assert not submit("yarn", {"deploy-mode": "cluster"}).env_vars
    assert os.environ["PYSPARK_DRIVER_PYTHON"] == sys.executable


@pytest.mark.parametrize("page", [{}, {"yarn_resourcemanager_webapp_address": "http://127.0.0.1:8088"}])
def test_an_application_in_the_cluster_is_followed_where_the_connection_says_how(submit, page):
    assert submit("yarn", {"deploy-mode": "cluster", **page})._yarn_track_via_rm_api is bool(page)
    assert submit("yarn", page)._yarn_track_via_rm_api is False


def test_a_store_gets_its_settings_and_its_keys_stay_in_the_environment(submit, monkeypatch):
    from open_images.object_store import use_object_store

    monkeypatch.setenv("AIRFLOW_CONN_STORE", json.dumps({"conn_type": "aws", **KEYS}))
    submit("spark://master", storage="s3://bucket/storage", object_store_connection="store")
    use_object_store()
    conf = submit("spark://master", storage="s3://bucket/storage", object_store_connection="store").conf
    assert conf["spark.hadoop.fs.s3a.endpoint"] == "http://127.0.0.1:1"
    assert not {"an-id", "a-key"} & set(conf.values())
    assert (os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]) == ("an-id", "a-key")
    assert "AWS_SESSION_TOKEN" not in os.environ


def test_the_deployments_own_settings_win(submit):
    conf = submit("local[1]", storage="s3://bucket/root", spark_conf={"spark.jars.packages": "mine:1"}).conf
    assert conf["spark.jars.packages"] == "mine:1"


def test_a_store_whose_connection_is_missing_is_named(submit, monkeypatch):
    from open_images.object_store import use_object_store

    submit("local[1]", object_store_connection="nowhere")
    with pytest.raises(ConfigurationError, match="object_store_connection: the Airflow connection 'nowhere'"):
        use_object_store()
