"""Helpers for tests that run or interrupt the whole flow: a small Airflow root, small runs, waits with time limits."""

from __future__ import annotations

import atexit
import contextlib
import datetime
import functools
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import httpx
import psutil
import yaml

import airflow_environment
import airflow_home
import local_airflow
import ports
from ml import storage
from ml.workflow.run import Run, load_run, slug

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
# Those of `airflow_environment.ensure_deployment`; for JVMs that live ten seconds, compiling less saves 40% of a flow.
SPARK_CONF = {
    "spark.ui.enabled": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.log.level": "WARN",
    "spark.driver.extraJavaOptions": "-XX:+UseSerialGC",
    **airflow_environment.INTERPRETED,
}
# As little as a flow can do and still train and evaluate on the drawn release of 60 scenes. TensorFlow traces and
# exports the notebook's network, which has no residual blocks, in half the time of the default one.
SMALL = {"chip_size": 32, "epochs": 2, "min_faces": 5, "batch_size": 16, "augment": False, "network": "notebook"}


def make_root(root: Path, release: Path) -> Path:
    """Make a folder for `local_airflow`: the project's DAGs and plugins, and a deployment with its storage.

    Returns:
        The storage root.
    """
    where = root / "var" / "storage"
    where.parent.mkdir(parents=True)
    for name in ("dags", "plugins"):
        (root / name).symlink_to(ROOT / name)
    # A scheduled training would come in half a year: none may start because the DAG is unpaused. The landing is looked
    # at once, when its DAG is unpaused, and never in the middle of a test.
    yearly = f"0 0 1 {(datetime.datetime.now(datetime.UTC).month + 5) % 12 + 1} *"
    schedules = {"training_schedule": yearly, "landing_schedule": yearly}
    content = {"storage": str(where), "release": str(release), "spark_conf": SPARK_CONF, **schedules}
    (root / "var" / "deployment.yaml").write_text(yaml.safe_dump(content))
    return where


@contextlib.contextmanager
def running(root: Path, *dags: str) -> Iterator[tuple[httpx.Client, str]]:
    """Start the Airflow of a root, and stop it when the block ends.

    Args:
        root: As `make_root` made it.
        dags: Those that are unpaused.

    Yields:
        A client of its REST API that has logged in, and the password.
    """
    _copy_database(root)
    # Parsing six files every half minute takes a tenth of the machine, and they do not change.
    with patch.dict(os.environ, {"AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300"}):
        local_airflow.up(root)
    try:
        port = airflow_home.recorded(root).port
        password = airflow_home.password(root)
        with httpx.Client(base_url=f"http://{ports.HOST}:{port}", trust_env=False, timeout=180) as client:
            answer = client.post("/auth/token", json={"username": airflow_home.USER, "password": password})
            client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
            for dag in dags:
                wait_for(f"the DAG {dag}", lambda dag=dag: client.get(f"/api/v2/dags/{dag}").status_code == 200)
                answer = client.patch(f"/api/v2/dags/{dag}", json={"is_paused": False})
                assert answer.status_code == 200, answer.text
            yield client, password
    finally:
        local_airflow.down(root)


def _copy_database(root: Path) -> None:
    """Give a root that has no database yet a new one."""
    home = airflow_environment.airflow_home(root)
    if not (home / "airflow.db").exists():
        home.mkdir(parents=True, exist_ok=True)
        for name in ("airflow.db", "migrated-to"):
            shutil.copy(_new_database() / name, home)


@functools.cache
def _new_database() -> Path:
    """Return the home of an Airflow with a new database; each test process makes it once, since it takes 20 s."""
    root = Path(tempfile.mkdtemp(prefix="new-airflow-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    airflow_environment.migrate(root)
    return airflow_environment.airflow_home(root)


@dataclass(frozen=True)
class Airflow:
    """A running Airflow and its REST API, mostly for one of its DAGs.

    Attributes:
        root: As `make_root` made it.
        storage: The storage root.
        client: Of its REST API, logged in.
        password: With which one logs in.
        dag: The DAG that is meant where none is named.
    """

    root: Path
    storage: Path
    client: httpx.Client
    password: str
    dag: str

    def ask(self, method: str, path: str, **content: Any) -> Any:
        """Call the REST API, check that it succeeds, and return the response."""
        answer = self.client.request(method, f"/api/v2{path}", **({"json": content} if content else {}))
        assert answer.status_code < 300, answer.text
        return answer.json()

    def get(self, path: str) -> Any:
        """Call the REST API for the DAG and return the response."""
        return self.ask("GET", f"/dags/{self.dag}{path}")

    def parse(self) -> None:
        """Have the DAG's file read again, which happens by itself only when the file changes."""
        token = self.get("/details")["file_token"]
        self.client.put(f"/api/v2/parseDagFile/{token}").raise_for_status()

    def trigger(self, **values: Any) -> str:
        """Start a manual run without a logical date, and return its id."""
        return str(self.ask("POST", f"/dags/{self.dag}/dagRuns", logical_date=None, conf=values)["dag_run_id"])

    def state(self, run_id: str) -> str:
        """Return the state of a run."""
        return str(self.get(f"/dagRuns/{run_id}")["state"])

    def tasks(self, run_id: str) -> dict[str, dict[str, Any]]:
        """Return the task instances of a run by task id."""
        return {task["task_id"]: task for task in self.get(f"/dagRuns/{run_id}/taskInstances")["task_instances"]}

    def states(self, run_id: str) -> dict[str, str | None]:
        """Return the states of a run's tasks."""
        return {name: task["state"] for name, task in self.tasks(run_id).items()}

    def xcom(self, run_id: str, task: str, key: str = "return_value") -> Any:
        """Return the XCom of a task."""
        return self.get(f"/dagRuns/{run_id}/taskInstances/{task}/xcomEntries/{key}")["value"]

    def run(self, run_id: str) -> Run:
        """Load the run of a training."""
        return load_run(storage.join(str(self.storage), "runs", slug(run_id)))

    def wait_to_end(self, run_id: str, seconds: float = 1200) -> str:
        """Wait until a run has ended, and return its state."""
        ended = ("success", "failed")
        return wait_for(f"the end of {run_id}", lambda: (state := self.state(run_id)) in ended and state, seconds)

    def events(self, asset: str) -> list[dict[str, Any]]:
        """Return the extras of an asset's events, newest first.

        Airflow answers with status 500 while a run that one of them triggered is queued: see `list_events`.
        """
        (found,) = self.ask("GET", f"/assets?name_pattern={asset}")["assets"]
        path = f"/api/v2/assets/events?asset_id={found['id']}&order_by=-timestamp"
        answer = wait_for(
            f"the events of {asset}", lambda: (asked := self.client.get(path)).status_code < 500 and asked
        )
        assert answer.status_code == 200, answer.text
        return [event["extra"] for event in answer.json()["asset_events"]]


def submit(job: str, run_uri: str, master: str = "local[2]", **conf: str) -> list[str]:
    """Return the command that executes a Spark stage of a run; underscores in setting names stand for dots."""
    settings = SPARK_CONF | {name.replace("_", "."): value for name, value in conf.items()}
    options = [part for name, value in settings.items() for part in ("--conf", f"{name}={value}")]
    program = Path(sys.executable).with_name("spark-submit")
    return [str(program), "--master", master, *options, str(ROOT / "spark_jobs" / f"{job}.py"), "--run", run_uri]


def attempts(root: Path) -> set[str]:
    """Return the attempt folders below a storage root, committed or not, as `<stage>/<attempt>`."""
    return {f"{folder.parts[-4]}/{folder.name}" for folder in root.glob("stages/*/*/attempts/*")}


def wait_for(what: str, ask: Callable[[], T], seconds: float = 300) -> T:
    """Poll until the result is true, or fail after a time limit, which is long because the machine may be slow.

    The longer it takes, the rarer the questions: ten a second take a tenth of the machine if Airflow answers them.
    """
    started = time.monotonic()
    while not (answer := ask()):
        waited = time.monotonic() - started
        assert waited < seconds, f"{what}: not in {seconds} s"
        time.sleep(min(1.0, 0.1 + waited / 20))
    return answer


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all its descendants."""
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return the processes that still run; zombies do not."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def end(processes: list[psutil.Process]) -> None:
    """Kill the processes of a test that still run."""
    for process in alive(processes):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)
