"""Checks of services: the ports of the web pages, and MLflow."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
from pathlib import Path

import psutil

from ml.doctor.finding import Answer
from ml.tracking import experiments

PORTS = {8080: "Airflow", 5000: "MLflow's pages", 4040: "Spark's pages"}


def check_ports() -> Answer:
    """Check whether the ports of the web pages are free, and which processes use them."""
    users = _listeners()
    ports, taken = [], False
    for port, name in PORTS.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                ports.append(f"{port} free")
            except OSError:
                taken = True
                ports.append(f"{port} ({name}) in use by {users.get(port, 'another user')}")
    if not taken:
        return "ok", ", ".join(ports), ""
    advice = "Nothing to do if the process is this project's. `make up` and `make mlflow` use the next free port."
    return "warning", ", ".join(ports), advice


def _listeners() -> dict[int, str]:
    found = {}
    for process in psutil.process_iter(["name"]):
        with contextlib.suppress(psutil.Error):
            for connection in process.net_connections(kind="tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    found[connection.laddr.port] = f"{process.info['name']} (process {process.pid})"
    return found


def check_mlflow(root: str) -> Answer:
    uri = experiments.tracking_uri(root)
    if not uri.startswith(experiments.SQLITE):
        try:
            experiments.connect(uri).search_experiments(max_results=1)
        except Exception as error:  # MLflow and the network raise many types
            refusal = experiments.refusal(uri, error)
            return "fault", refusal.message, refusal.advice
        return "ok", f"{experiments.shown(uri)} answers", ""
    path = Path(uri.removeprefix(experiments.SQLITE))
    if not path.exists():
        return "ok", f"the first training creates {path}", ""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)) as database:
            (count,) = database.execute("SELECT count(*) FROM runs").fetchone()
    except sqlite3.Error as error:
        advice = "Check its permissions and its disk. If it is damaged, restore it or move it away."
        return "fault", f"{path} cannot be read: {error}", advice
    return "ok", f"{path}, with {count} runs", ""
