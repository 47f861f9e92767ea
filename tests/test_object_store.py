"""The object store of the environment: who answers, and what Spark is told."""

from __future__ import annotations

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
from urllib.parse import quote

import pytest

from ml import object_store, storage
from ml.errors import ConfigurationError, TransientError


@pytest.fixture
def silent():
    """A port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_store_that_never_answers_is_reported_soon(silent, monkeypatch):
    assert 2 * object_store.ANSWER_SECONDS <= 20
    monkeypatch.setattr(object_store, "ANSWER_SECONDS", 0.2)
    monkeypatch.setenv(object_store.ENDPOINT, f"http://127.0.0.1:{silent}")
    with pytest.raises(TransientError, match=f"object store at http://127.0.0.1:{silent} does not answer") as failed:
        storage.read_bytes("s3://bucket/key")
    assert object_store.ENDPOINT in failed.value.advice


def test_a_store_where_nobody_listens_is_reported(silent, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    with pytest.raises(TransientError, match="refused"):
        object_store.check_endpoint(f"http://127.0.0.1:{free}")


def test_any_answer_is_one():
    class Refuses(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(403)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        object_store.check_endpoint(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


def test_an_endpoint_must_be_an_address():
    with pytest.raises(ConfigurationError, match="not an http"):
        object_store.check_endpoint("store:9000")


def test_spark_gets_the_endpoint_and_no_key():
    environment = {
        "AWS_ENDPOINT_URL": "http://store:9000",
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "hidden",
    }
    settings = object_store.spark_settings(environment)
    assert settings["spark.hadoop.fs.s3a.endpoint"] == "http://store:9000"
    assert settings["spark.hadoop.fs.s3a.connection.ssl.enabled"] == "false"
    assert not {"id", "hidden"} & set(settings.values())
    assert object_store.executor_settings(environment)["spark.executorEnv.AWS_SECRET_ACCESS_KEY"] == "hidden"


def test_amazons_own_store_needs_no_endpoint():
    assert not [name for name in object_store.spark_settings({}) if "endpoint" in name]


CONNECTION = {
    "conn_type": "aws",
    "login": "an-id",
    "password": "a/key",
    "extra": {"endpoint_url": "http://store:9000", "region_name": "here"},
}
AS_URI = "aws://an-id:a%2Fkey@/?endpoint_url=http%3A%2F%2Fstore%3A9000&region_name=here"
AS_EXTRA = f"aws://an-id:a%2Fkey@/?__extra__={quote(json.dumps(CONNECTION['extra']))}"


@pytest.fixture
def shell(monkeypatch):
    """A shell without keys; what the test sets is gone afterwards."""
    for name in object_store.WORKER_VARIABLES:
        monkeypatch.setenv(name, "")
    return monkeypatch


def found() -> dict[str, str]:
    return {name: os.environ[name] for name in object_store.WORKER_VARIABLES if os.environ.get(name)}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(CONNECTION),
        json.dumps({**CONNECTION, "extra": json.dumps(CONNECTION["extra"])}),
        AS_URI,
        AS_EXTRA,
    ],
)
def test_a_shell_takes_the_keys_from_the_connection_in_its_environment(shell, text):
    shell.setenv("AIRFLOW_CONN_OBJECT_STORE", text)
    object_store.use_connection("object_store")
    assert found() == {
        "AWS_ACCESS_KEY_ID": "an-id",
        "AWS_SECRET_ACCESS_KEY": "a/key",
        "AWS_ENDPOINT_URL": "http://store:9000",
        "AWS_DEFAULT_REGION": "here",
    }


def test_keys_that_are_set_win_over_the_connection(shell):
    shell.setenv("AIRFLOW_CONN_OBJECT_STORE", json.dumps(CONNECTION))
    shell.setenv("AWS_ACCESS_KEY_ID", "another")
    shell.setenv("AWS_DEFAULT_REGION", "there")
    object_store.use_connection("object_store")
    assert found() == {"AWS_ACCESS_KEY_ID": "another", "AWS_DEFAULT_REGION": "there"}


def test_a_region_alone_is_no_key(shell):
    shell.setenv("AIRFLOW_CONN_OBJECT_STORE", json.dumps(CONNECTION))
    shell.setenv("AWS_DEFAULT_REGION", "there")
    object_store.use_connection("object_store")
    assert found()["AWS_ACCESS_KEY_ID"] == "an-id"


def test_a_connection_that_is_elsewhere_leaves_the_environment_as_it_is(shell):
    shell.delenv("AIRFLOW_CONN_OBJECT_STORE", raising=False)
    object_store.use_connection("object_store")
    assert found() == {}


def test_a_connection_that_cannot_be_read_is_named_and_not_repeated(shell):
    shell.setenv("AIRFLOW_CONN_OBJECT_STORE", '{"login": "an-id", "password": "a-key"')
    with pytest.raises(ConfigurationError, match="AIRFLOW_CONN_OBJECT_STORE holds no Airflow connection") as failed:
        object_store.use_connection("object_store")
    assert "a-key" not in str(failed.value)


def test_a_command_in_a_shell_reaches_the_store_of_the_deployment(shell, tmp_path):
    """As `docker compose exec scheduler python -m ml ...` does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    endpoint = f"http://127.0.0.1:{free}"
    connection = {**CONNECTION, "extra": {"endpoint_url": endpoint}}
    (tmp_path / "deployment.yaml").write_text("storage: s3://bucket/storage\nobject_store_connection: object_store\n")
    shell.setenv("OPEN_IMAGES_CONFIG", str(tmp_path / "deployment.yaml"))
    shell.setenv("AIRFLOW_CONN_OBJECT_STORE", json.dumps(connection))
    command = [sys.executable, "-m", "ml", "pack", str(tmp_path), "s3://bucket/photographs"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"The object store at {endpoint} does not answer" in done.stderr
