"""Airflow's local settings where its database is SQLite: `scripts/local_airflow.py` links them into `var/airflow`.

SQLite's SAVEPOINT, with which Airflow begins the runs of a backfill, begins a transaction that reads. When another
component has written before its own first write, SQLite refuses that write at once, however long it may wait for locks:
`airflow backfill create` ended with "database is locked", and left a backfill without runs.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event

__all__ = ["create_metadata_engine"]


def create_metadata_engine(
    sql_alchemy_conn: str, *, engine_args: dict[str, Any], connect_args: dict[str, Any]
) -> Engine:
    """Create Airflow's engine as Airflow does, but with savepoints that hold SQLite's write lock from the beginning."""
    engine = create_engine(sql_alchemy_conn, connect_args=connect_args, **engine_args, future=True)
    event.listen(engine, "savepoint", _lock_first)
    return engine


def _lock_first(connection: Connection, name: str) -> None:
    if not getattr(connection.connection.dbapi_connection, "in_transaction", True):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
