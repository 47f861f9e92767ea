"""The object store of the environment: who answers, and what Spark is told."""

from __future__ import annotations

import http.server
import socket
import threading

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
