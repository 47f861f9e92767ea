"""Airflow's local settings for a SQLite database; `scripts/airflow_home.py` links them into `var/airflow`.

Airflow creates the runs of a backfill after a SAVEPOINT, with which SQLite begins a read transaction. If another
component writes before the first write of that transaction, SQLite refuses the write at once, whatever the timeout for
locks. `airflow backfill create` then failed with "database is locked" and left a backfill without runs.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event

__all__ = ["create_metadata_engine"]


def create_metadata_engine(
    sql_alchemy_conn: str, *, engine_args: dict[str, Any], connect_args: dict[str, Any]
) -> Engine:
    """Create Airflow's engine as Airflow does, but take SQLite's write lock before each savepoint."""
    engine = create_engine(sql_alchemy_conn, connect_args=connect_args, **engine_args, future=True)
    event.listen(engine, "savepoint", _lock_first)
    return engine


def _lock_first(connection: Connection, name: str) -> None:
    if not getattr(connection.connection.dbapi_connection, "in_transaction", True):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
