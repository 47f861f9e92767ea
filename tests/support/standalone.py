"""Spark's standalone master with workers, as processes on loopback."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from ml.java import java_home
from support.airflow_root import end, family, submit, wait_for
from support.daemons import free_ports

WORKERS = 2


@dataclass(frozen=True)
class Cluster:
    """A master with workers of one core each.

    Attributes:
        master: Its URL for spark-submit.
        page: The address of its pages.
        work: What the executors of each worker leave.
        scratch: Where the executors of each worker keep shuffles.
    """

    master: str
    page: str
    work: tuple[Path, ...]
    scratch: tuple[Path, ...]

    def state(self) -> dict[str, Any]:
        """Return what the master's page tells, or nothing while it does not answer."""
        try:
            return dict(httpx.get(f"{self.page}/json/", trust_env=False, timeout=10).json())
        except (httpx.HTTPError, ValueError):
            return {}

    def workers(self) -> int:
        """Return how many workers are alive."""
        return sum(worker["state"] == "ALIVE" for worker in self.state().get("workers", []))

    def done(self) -> list[str]:
        """Return the names of the applications that have ended well."""
        return sorted(app["name"] for app in self.state().get("completedapps", []) if app["state"] == "FINISHED")

    def submit(self, stage: str, run_uri: str) -> subprocess.CompletedProcess[str]:
        """Do a stage on the cluster; standard output holds standard error too."""
        return subprocess.run(
            submit(stage, run_uri, self.master, spark_executor_memory="768m"),
            env={**os.environ, "JAVA_HOME": str(java_home())},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )


@contextlib.contextmanager
def standalone(folder: Path) -> Iterator[Cluster]:
    """Start a master and its workers, and end them.

    Args:
        folder: Gets their logs, and what the executors leave.
    """
    port, page, *worker_pages = free_ports(2 + WORKERS)
    work, scratch = (tuple(folder / f"{kind}-{number}" for number in range(WORKERS)) for kind in ("work", "scratch"))
    running = Cluster(f"spark://127.0.0.1:{port}", f"http://127.0.0.1:{page}", work, scratch)
    program = [str(Path(sys.executable).with_name("spark-class"))]
    host = ["--host", "127.0.0.1", "--webui-port"]
    environment = {**os.environ, "JAVA_HOME": str(java_home()), "SPARK_DAEMON_MEMORY": "256m"}
    commands = {
        "master": (["org.apache.spark.deploy.master.Master", *host, str(page), "--port", str(port)], environment)
    }
    for number, worker_page in enumerate(worker_pages):
        scratch[number].mkdir()
        command = [
            *("org.apache.spark.deploy.worker.Worker", *host, str(worker_page)),
            *("--cores", "1", "--memory", "1g", "--work-dir", str(work[number]), running.master),
        ]
        commands[f"worker {number}"] = (command, environment | {"SPARK_LOCAL_DIRS": str(scratch[number])})
    started: list[subprocess.Popen[bytes]] = []
    try:
        for name, (command, variables) in commands.items():
            with (folder / f"{name}.log").open("wb") as log:
                process = subprocess.Popen(
                    program + command, env=variables, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )
            started.append(process)
            count = len(started) - 1
            wait_for(name, lambda count=count: running.workers() == count if count else running.state())
        for process in started:
            assert {connection.laddr.ip for connection in _listeners(process.pid)} <= {"127.0.0.1", "::ffff:127.0.0.1"}
        yield running
    finally:
        end([relative for process in reversed(started) for relative in family(process.pid)])
        for process in started:
            process.wait(timeout=20)


def _listeners(pid: int) -> list[Any]:
    found = [c for process in family(pid) for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert found
    return found
