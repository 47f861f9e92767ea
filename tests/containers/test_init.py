"""Tests of `docker/init.py`, with a stand-in for PostgreSQL's driver, which only the image has."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

INIT = Path(__file__).resolve().parents[2] / "docker" / "init.py"
SERVER = "postgresql+psycopg2://airflow:pw@postgres/airflow"


class Server:
    """A server with roles and databases, to which statements are sent."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.statements: list[str] = []
        self.address = ""
        self.found = False
        self.autocommit = False

    def connect(self, address: str) -> Server:
        self.address = address
        return self

    def cursor(self) -> Server:
        return self

    def close(self) -> None:
        self.autocommit = False

    def execute(self, statement: str, values: tuple[str, ...] = ()) -> None:
        if statement.startswith("SELECT"):
            self.found = f"{'role' if 'pg_roles' in statement else 'database'} {values[0]}" in self.names
            return
        assert self.autocommit, "PostgreSQL creates no database within a transaction"
        self.statements.append(statement)
        verb, kind, name = statement.lower().split()[:3]
        if verb == "create":
            self.names.add(f"{kind} {name}")

    def fetchone(self) -> tuple[int] | None:
        return (1,) if self.found else None


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    sql: Any = types.SimpleNamespace(SQL=str, Identifier=str, Literal=repr)
    driver: Any = types.ModuleType("psycopg2")
    driver.connect, driver.sql = made.connect, sql
    monkeypatch.setitem(sys.modules, "psycopg2", driver)
    return made


def test_init_prepares_both_databases_and_can_run_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: calls.append(command))
    passwords = tmp_path / "passwords.json"
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(passwords))
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", SERVER)
    for password in ("first", "second"):
        monkeypatch.setenv("AIRFLOW_ADMIN_PASSWORD", password)
        monkeypatch.setenv("MLFLOW_DATABASE_PASSWORD", f"{password}-database")
        runpy.run_path(str(INIT), run_name="__main__")
    assert server.address == "postgresql://airflow:pw@postgres/airflow"
    assert server.statements == [
        "CREATE ROLE mlflow LOGIN PASSWORD 'first-database'",
        "CREATE DATABASE mlflow OWNER mlflow",
        "ALTER ROLE mlflow LOGIN PASSWORD 'second-database'",
    ]
    assert json.loads(passwords.read_text()) == {"admin": "second"}
    assert passwords.stat().st_mode & 0o777 == 0o600
    assert calls == [["airflow", "db", "migrate"]] * 2
