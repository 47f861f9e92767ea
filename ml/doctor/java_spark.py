"""Checks of what Spark needs: Java, and the connection to its master."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ml.doctor.finding import SECONDS, Answer
from ml.java import ask, java_home

CONNECTION = "spark_default"
CONNECTION_VARIABLE = "AIRFLOW_CONN_SPARK_DEFAULT"
MASTER = re.compile(r"local(\[.+\])?$|yarn$|(spark|k8s|sc)://.")
CONNECT_SECONDS = 5.0


def check_java() -> Answer:
    home = java_home()
    java = ask(home / "bin" / "java")
    if java is None:
        return "fault", f"{home}/bin/java does not run", "Install Java 17 or later, or set JAVA_HOME to one."
    return "ok", f"Java {java.version} at {home}", ""


def check_connection() -> Answer:
    """Check the Spark connection, from the environment or else from Airflow's command."""
    connection = os.environ.get(CONNECTION_VARIABLE)
    where = CONNECTION_VARIABLE
    if not connection:
        where = "Airflow"
        program = Path(sys.executable).with_name("airflow")
        home = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser()
        made = (home / "airflow.cfg").exists() or "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN" in os.environ
        if not program.exists() or not made:  # the command would create Airflow's files
            return "warning", f"{CONNECTION_VARIABLE} is not set and Airflow is not set up", _connection_advice()
        command = [str(program), "connections", "get", CONNECTION, "-o", "json"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS - 5)
        except subprocess.TimeoutExpired:
            return "warning", "`airflow connections get` timed out", "Check Airflow's database."
        if done.returncode:
            return "fault", f"`airflow connections get {CONNECTION}` found no connection", _connection_advice()
        connection = json.dumps(json.loads(done.stdout[done.stdout.index("[") :])[0])
    kind, host, port = _parse_connection(connection)
    if kind not in ("spark", "spark_connect"):
        return "fault", f"{CONNECTION} is of type {kind}", _connection_advice()
    master = f"{host}:{port}" if port else host
    if not MASTER.match(master):
        return "fault", f"{CONNECTION} has {master!r} as host, which is not a Spark master", _connection_advice()
    address = urlsplit(master)
    if address.scheme == "spark" and address.hostname:
        try:
            socket.create_connection((address.hostname, address.port or 7077), CONNECT_SECONDS).close()
        except OSError as error:
            return (
                "fault",
                f"{master} ({where}) does not answer: {error}",
                "Start the Spark master, or correct the connection.",
            )
    return "ok", f"{master} ({where})", ""


def _parse_connection(connection: str) -> tuple[str, str, int | None]:
    """Return type, host and port of a connection given as JSON or as a URI."""
    if connection.lstrip().startswith("{"):
        content = json.loads(connection)
        port = content.get("port")
        return content.get("conn_type", ""), content.get("host") or "", int(port) if port else None
    uri = urlsplit(connection)
    return uri.scheme.replace("-", "_"), unquote(uri.netloc.rpartition("@")[2].partition(":")[0]), uri.port


def _connection_advice() -> str:
    local = json.dumps({"conn_type": "spark", "host": "local[*]", "extra": {"deploy-mode": "client"}})
    return f"export {CONNECTION_VARIABLE}='{local}', or create {CONNECTION} in Airflow with your master as the host."
