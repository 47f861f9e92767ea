"""Prepare the databases of Airflow and MLflow before the services start, and the password of the user `admin`."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import closing
from pathlib import Path

import psycopg2
from psycopg2 import sql

MLFLOW = "mlflow"  # name of MLflow's database and of its owner, as in MLFLOW_BACKEND_STORE_URI


def main() -> None:
    address = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("+psycopg2", "", 1)
    create_database(address, MLFLOW, os.environ["MLFLOW_DATABASE_PASSWORD"])
    subprocess.run(["airflow", "db", "migrate"], check=True)
    write_password(
        Path(os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"]), os.environ["AIRFLOW_ADMIN_PASSWORD"]
    )


def create_database(server: str, name: str, password: str) -> None:
    """Create a database and a role of the same name that owns it; if they exist, only set the password."""
    with closing(psycopg2.connect(server)) as connection:
        connection.autocommit = True  # PostgreSQL creates no database within a transaction
        cursor = connection.cursor()
        identifier = sql.Identifier(name)
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,))
        verb = "ALTER" if cursor.fetchone() else "CREATE"
        cursor.execute(sql.SQL(verb + " ROLE {} LOGIN PASSWORD {}").format(identifier, sql.Literal(password)))
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
        if not cursor.fetchone():
            cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(identifier, identifier))


def write_password(path: Path, password: str) -> None:
    """Write the password of Airflow's user `admin` for the owner of the file alone."""
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump({"admin": password}, file)


if __name__ == "__main__":
    main()
