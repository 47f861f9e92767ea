"""What the tests share that run the whole flow, or end it halfway: a small Airflow root, small runs, bounded waits."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import httpx
import psutil
import yaml

import local_airflow

T = TypeVar("T")
ROOT = Path(__file__).parents[1]
# As `local_airflow.ensure_deployment` has it, and for JVMs that live ten seconds: compiling less saves 40% of a flow.
SPARK_CONF = {
    "spark.ui.enabled": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.log.level": "WARN",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}
# As little as a flow can do and still train and evaluate on the drawn release of 60 scenes.
SMALL = {"chip_size": 32, "epochs": 2, "min_faces": 5, "batch_size": 16, "augment": False}


def make_root(root: Path, release: Path) -> Path:
    """A folder for `local_airflow`: the project's DAGs and plugins, and a deployment with its storage below it.

    Returns:
        The storage root.
    """
    storage = root / "var" / "storage"
    storage.parent.mkdir(parents=True)
    for name in ("dags", "plugins"):
        (root / name).symlink_to(ROOT / name)
    # Runs by hand and by deliveries alone: a schedule would start one as soon as the DAG is unpaused.
    content = {"storage": str(storage), "release": str(release), "spark_conf": SPARK_CONF, "training_schedule": None}
    (root / "var" / "deployment.yaml").write_text(yaml.safe_dump(content))
    return storage


@contextlib.contextmanager
def running(root: Path, *dags: str) -> Iterator[tuple[httpx.Client, str]]:
    """Start the Airflow of a root and stop it in the end.

    Args:
        root: As `make_root` made it.
        dags: Those that are unpaused.

    Yields:
        A client of its REST API that has logged in, and the password.
    """
    local_airflow.up(root)
    try:
        port = local_airflow.recorded(root)["port"]
        password = json.loads((root / "var" / "airflow" / "passwords.json").read_text())[local_airflow.USER]
        with httpx.Client(base_url=f"http://{local_airflow.HOST}:{port}", trust_env=False, timeout=180) as client:
            answer = client.post("/auth/token", json={"username": local_airflow.USER, "password": password})
            client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
            for dag in dags:
                wait_for(f"the DAG {dag}", lambda dag=dag: client.get(f"/api/v2/dags/{dag}").status_code == 200)
                answer = client.patch(f"/api/v2/dags/{dag}", json={"is_paused": False})
                assert answer.status_code == 200, answer.text
            yield client, password
    finally:
        local_airflow.down(root)


def submit(job: str, run_uri: str, master: str = "local[2]", **conf: str) -> list[str]:
    """The command that does a Spark stage of a run; an underscore in a setting's name stands for a dot."""
    settings = SPARK_CONF | {name.replace("_", "."): value for name, value in conf.items()}
    options = [part for name, value in settings.items() for part in ("--conf", f"{name}={value}")]
    program = Path(sys.executable).with_name("spark-submit")
    return [str(program), "--master", master, *options, str(ROOT / "spark_jobs" / f"{job}.py"), "--run", run_uri]


def attempts(storage: Path) -> set[str]:
    """The attempt folders below a storage root, committed or not, as `<stage>/<attempt>`."""
    return {f"{folder.parts[-4]}/{folder.name}" for folder in storage.glob("stages/*/*/attempts/*")}


def wait_for(what: str, ask: Callable[[], T], seconds: float = 120) -> T:
    """Ask until the answer is true; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"{what}: not in {seconds} s"
        time.sleep(0.1)
    return answer


def family(pid: int) -> list[psutil.Process]:
    """A process and all that descends from it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; a zombie does not."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def end(processes: list[psutil.Process]) -> None:
    """Kill processes that a test has started, wherever they still run."""
    for process in alive(processes):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)
