"""The Spark stages on a standalone cluster: a master and two workers of the test's own, on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from ml.flow.table import STAGES
from ml.java import java_home
from ml.workflow.content import first_difference
from ml.workflow.execution import run_stage
from ml.workflow.opening import open_run
from support.airflow_root import end, family, submit, wait_for
from support.daemons import free_ports
from support.spark_stages import BODIES

pytestmark = pytest.mark.cluster
WORKERS = 2


@dataclass(frozen=True)
class Cluster:
    """A standalone master with two workers of one core each; a folder holds what each worker's executors leave."""

    master: str
    page: str
    work: tuple[Path, ...]

    def state(self) -> dict[str, Any]:
        """What the master's page tells, or nothing while it does not answer."""
        try:
            return dict(httpx.get(f"{self.page}/json/", trust_env=False, timeout=10).json())
        except (httpx.HTTPError, ValueError):
            return {}

    def workers(self) -> int:
        return sum(worker["state"] == "ALIVE" for worker in self.state().get("workers", []))

    def done(self) -> list[str]:
        """The names of the applications that have ended well on the cluster."""
        return sorted(app["name"] for app in self.state()["completedapps"] if app["state"] == "FINISHED")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    port, page, *worker_pages = free_ports(2 + WORKERS)
    work = tuple(folder / f"work-{number}" for number in range(WORKERS))
    running = Cluster(f"spark://127.0.0.1:{port}", f"http://127.0.0.1:{page}", work)
    program = [str(Path(sys.executable).with_name("spark-class"))]
    host = ["--host", "127.0.0.1", "--webui-port"]
    commands = {"master": ["org.apache.spark.deploy.master.Master", *host, str(page), "--port", str(port)]}
    for number, worker_page in enumerate(worker_pages):
        commands[f"worker {number}"] = [
            *("org.apache.spark.deploy.worker.Worker", *host, str(worker_page)),
            *("--cores", "1", "--memory", "1g", "--work-dir", str(work[number]), running.master),
        ]
    environment = {**os.environ, "JAVA_HOME": str(java_home()), "SPARK_DAEMON_MEMORY": "256m"}
    started = []
    try:
        for name, command in commands.items():
            with (folder / f"{name}.log").open("wb") as log:
                process = subprocess.Popen(
                    program + command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )
            started.append(process)
            count = len(started) - 1
            wait_for(name, lambda count=count: running.workers() == count if count else running.state())
        for process in started:
            assert {connection.laddr.ip for connection in listeners(process.pid)} <= {"127.0.0.1", "::ffff:127.0.0.1"}
        yield running
    finally:
        end([relative for process in reversed(started) for relative in family(process.pid)])
        for process in started:
            process.wait(timeout=20)


def listeners(pid: int) -> list[Any]:
    found = [c for process in family(pid) for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert found
    return found


def test_the_stages_give_on_a_cluster_what_they_give_locally(cluster, spark, sample_release, tmp_path):
    local, remote = (
        open_run(str(tmp_path / name), "run", {"release": str(sample_release), "chip_size": 32})
        for name in ("local", "remote")
    )
    for stage, body in BODIES.items():
        run_stage(local, STAGES[stage], lambda context, body=body: body(spark, context))
        told = subprocess.run(
            submit(stage, remote.uri, cluster.master, spark_executor_memory="768m"),
            env={**os.environ, "JAVA_HOME": str(java_home())},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )
        assert told.returncode == 0, told.stdout[-6000:]
    assert cluster.done() == sorted(BODIES)
    assert all(any(work.glob("app-*")) for work in cluster.work)  # both had executors
    for stage in BODIES:
        here, there = local.pinned(stage), remote.pinned(stage)
        assert there.key == here.key
        assert there.ledger == here.ledger
        application = there.metrics["spark_application"]  # a job has one, a stage's body alone has none
        assert there.metrics == {**here.metrics, "spark_application": application}
        assert first_difference(here, there) is None, stage
        # A release without faults has none in quarantine, and the drawn one has no near-duplicates.
        rows = Counter()
        for part in there.of_deliveries():
            rows.update({file.path.split("/")[0]: file.rows for file in part.files if file.rows is not None})
        assert rows
        assert all(rows[table] for table in rows.keys() - {"quarantine", "duplicates"}), rows
