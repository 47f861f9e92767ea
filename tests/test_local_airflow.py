"""The local Airflow's settings for SQLite."""

from __future__ import annotations

import contextlib
import importlib.util
import sqlite3

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

import airflow_home


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
