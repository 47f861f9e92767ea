"""The doctor's check of HDFS and YARN, without either."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from ml.config.deployment import Deployment
from ml.doctor import hadoop

SIMPLE = "<configuration><property><name>fs.defaultFS</name><value>hdfs://here</value></property></configuration>"
KERBEROS = SIMPLE.replace("fs.defaultFS", "hadoop.security.authentication").replace("hdfs://here", "kerberos")


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Path:
    (tmp_path / "core-site.xml").write_text(SIMPLE)
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))
    return Path(tmp_path)


def test_a_deployment_without_hadoop_needs_nothing(monkeypatch):
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    assert hadoop.check_hadoop(Deployment())[:2] == ("ok", "not used")


def test_a_storage_in_hdfs_needs_the_settings(monkeypatch):
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    state, told, advice = hadoop.check_hadoop(Deployment(storage="hdfs://name:8020/open-images"))
    assert state == "fault"
    assert "HADOOP_CONF_DIR is not set" in told
    assert advice


def test_a_folder_without_settings_is_a_fault(settings):
    (settings / "core-site.xml").unlink()
    state, told, _ = hadoop.check_hadoop(Deployment())
    assert (state, "core-site.xml cannot be read" in told) == ("fault", True)


def test_the_user_is_told(settings, monkeypatch):
    monkeypatch.setenv("HADOOP_USER_NAME", "trainer")
    state, told, _ = hadoop.check_hadoop(Deployment())
    assert state == "ok"
    assert "as user trainer" in told


def test_a_namenode_that_does_not_answer_is_a_fault(settings):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert hadoop.check_hadoop(Deployment(storage=f"hdfs://127.0.0.1:{port}/root"))[0] == "ok"
    state, told, _ = hadoop.check_hadoop(Deployment(storage=f"hdfs://127.0.0.1:{port}/root"))
    assert state == "fault"
    assert f"no NameNode answers at 127.0.0.1:{port}" in told


def test_kerberos_needs_a_ticket(settings, monkeypatch):
    (settings / "core-site.xml").write_text(KERBEROS)
    monkeypatch.setenv("PATH", "")
    state, told, advice = hadoop.check_hadoop(Deployment())
    assert state == "fault"
    assert "Kerberos" in told
    assert "kinit" in advice
