"""The local Airflow: its settings for SQLite, its ports, and the record of its components."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import sqlite3

import psutil
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

import airflow_home
import local_airflow
from airflow_environment import environment
from airflow_home import Component, Record
from ml.environment import spark_home
from ml.errors import ConfigurationError, ResourceError
from ports import HOST, free_port, free_port_from


@pytest.fixture
def settings():
    """The module as Airflow loads it from its folder `config`."""
    spec = importlib.util.spec_from_file_location("settings", airflow_home.CONFIG / "airflow_local_settings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_in_savepoint(engine, database) -> None:
    """Read and write within a savepoint, while another program tries to write between the two."""
    with contextlib.closing(sqlite3.connect(database, timeout=0)) as other, Session(engine) as session:
        with session.begin_nested():
            session.execute(text("SELECT count(*) FROM runs")).all()
            with contextlib.suppress(sqlite3.OperationalError):
                other.execute("INSERT INTO runs VALUES ('other')")
                other.commit()
            session.execute(text("INSERT INTO runs VALUES ('own')"))
        session.commit()


def test_a_savepoint_is_not_refused_because_another_component_has_written(settings, tmp_path):
    database = tmp_path / "airflow.db"
    with contextlib.closing(sqlite3.connect(database)) as made:
        made.execute("PRAGMA journal_mode=WAL")
        made.execute("CREATE TABLE runs (name TEXT)")
    url = f"sqlite:///{database}?timeout=1"
    with pytest.raises(OperationalError, match="database is locked"):
        write_in_savepoint(create_engine(url), database)
    write_in_savepoint(settings.create_metadata_engine(url, engine_args={}, connect_args={}), database)
    with contextlib.closing(sqlite3.connect(database)) as made:
        assert [name for (name,) in made.execute("SELECT name FROM runs")] == ["other", "own"]


def test_airflows_folder_holds_the_settings(tmp_path):
    home = airflow_home.airflow_home(tmp_path)
    assert airflow_home.airflow_home(tmp_path) == home
    assert (home / "config" / "airflow_local_settings.py").is_file()


def test_a_record_is_read_as_it_was_written_and_names_what_has_ended(tmp_path):
    airflow_home.airflow_home(tmp_path)
    assert airflow_home.recorded(tmp_path) is None
    running, recycled = Component.of(os.getpid()), Component(os.getpid(), started=1.0)
    record = Record(8080, "mark", {"scheduler": running, "triggerer": recycled})
    airflow_home.write_record(tmp_path, record)
    assert airflow_home.recorded(tmp_path) == record
    assert record.ended() == ["triggerer"]
    airflow_home.remove_record(tmp_path)
    assert airflow_home.recorded(tmp_path) is None


def test_secrets_and_password_are_made_once_for_this_user_alone(tmp_path):
    kept = airflow_home.kept_secrets(tmp_path), airflow_home.password(tmp_path)
    assert (airflow_home.kept_secrets(tmp_path), airflow_home.password(tmp_path)) == kept
    for name in ("secrets.json", "passwords.json"):
        assert (airflow_home.airflow_home(tmp_path) / name).stat().st_mode & 0o777 == 0o600


def test_the_next_free_port_is_taken(monkeypatch):
    with socket.socket() as taken:
        taken.bind((HOST, free_port_from(20_000)))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("PORT", str(port))
        assert port < free_port(8080) < port + 100


def test_a_port_that_is_not_a_number_is_refused(monkeypatch):
    monkeypatch.setenv("PORT", "http")
    with pytest.raises(ResourceError, match="PORT is 'http'"):
        free_port(8080)


def test_what_other_machines_can_reach_is_refused():
    this_process = psutil.Process()
    with socket.socket() as server:
        server.bind((HOST, 0))
        server.listen()
        local_airflow.check_listeners([this_process])
    with socket.socket() as server:
        server.bind(("0.0.0.0", 0))
        server.listen()
        with pytest.raises(ResourceError, match="other machines can reach"):
            local_airflow.check_listeners([this_process])


@pytest.mark.parametrize("spelling", ["no_proxy", "NO_PROXY"])
def test_airflows_parts_reach_each_other_whichever_proxy_variables_are_set(tmp_path, monkeypatch, spelling):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(spelling, "intranet")
    found = environment(tmp_path, port=8080)
    assert found["no_proxy"] == found["NO_PROXY"] == "intranet,127.0.0.1,localhost"


def test_the_variables_for_a_shell_stay_the_same_when_they_are_set(tmp_path, monkeypatch):
    found = environment(tmp_path, port=8080)
    assert found["SPARK_HOME"] == str(spark_home())
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    assert environment(tmp_path, port=8080) == found


def test_an_environment_that_lets_no_job_run_is_told_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("ml.environment.user_name", lambda: None)
    with pytest.raises(ConfigurationError, match="has no name on this machine"):
        local_airflow.up(tmp_path)
    assert not (tmp_path / "var" / "airflow" / "airflow.db").exists()
    assert not (tmp_path / "var" / "deployment.yaml").exists()
