"""Work that is killed leaves nothing that anybody reads, no process of it lives on, and a retry does it whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from airflow_root import ROOT, alive, end, family, submit, wait_for

from ml import storage
from ml.flow import STAGES
from ml.java import java_home
from ml.runs import load_run
from ml.stages import load_manifest
from ml.supervision import SUPERVISOR_VARIABLE, identity

EXTRACT = STAGES["extract"]


@pytest.fixture
def start():
    """Start a process; at the test's end it and all that descended from it are ended."""
    started, seen = [], []

    def start_(command, **environment):
        process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    def watch(process):
        """The process and all that descends from it now, remembered by id and start time."""
        found = family(process.pid)
        seen.extend(found)
        return found

    start_.watch = watch
    yield start_
    end([relative for process in started for relative in family(process.pid)] + seen)
    for process in started:
        process.communicate(timeout=20)


# --- a stage's operator that is told to end its job

# A stand-in for spark-submit, or for Python: a process that starts another, that starts a third one. None heeds
# SIGTERM, as a JVM that hangs would not.
STUBBORN = """#!{python}
import os, pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
depth = int(os.environ.get("STUBBORN_DEPTH", "1"))
if depth < 3:
    subprocess.Popen([__file__], env={{**os.environ, "STUBBORN_DEPTH": str(depth + 1)}})
else:
    pathlib.Path({ready!r}).touch()
time.sleep(600)
"""
# As Airflow's task runner does it: SIGTERM calls `on_kill`, and then the operator goes on.
TASK = """
import signal, sys
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from open_images.operators import ProcessStageOperator, SparkStageOperator

operator, run, stub = sys.argv[1:]
task = {"spark": SparkStageOperator, "process": ProcessStageOperator}[operator](
    task_id="extract", stage="extract", run=run
)
signal.signal(signal.SIGTERM, lambda *_: task.on_kill())
sys.executable = stub
try:
    task.execute({})
except AirflowFailException as error:
    print("not to be retried:", error)
except AirflowException as error:
    print("to be retried:", error)
"""


@pytest.mark.parametrize("operator", ["spark", "process"])
def test_an_operator_that_is_killed_ends_all_processes_of_its_job(opened, start, tmp_path, operator):
    run, ready = opened(), tmp_path / "ready"
    stub = tmp_path / "bin" / "spark-submit"
    stub.parent.mkdir()
    stub.write_text(STUBBORN.format(python=sys.executable, ready=str(ready)))
    stub.chmod(0o755)
    task = start(
        [sys.executable, "-c", TASK, operator, run.uri, str(stub)],
        AIRFLOW_HOME=str(tmp_path / "airflow"),
        AIRFLOW_CONN_SPARK_DEFAULT='{"conn_type": "spark", "host": "local[1]"}',
        JAVA_HOME=str(java_home()),
        PYTHONPATH=os.pathsep.join([str(ROOT / "plugins"), str(ROOT)]),
        PATH=os.pathsep.join([str(stub.parent), os.environ["PATH"]]),
    )
    wait_for("the job", lambda: ready.exists() or task.poll() is not None)
    job = start.watch(task)[1:]
    assert len(job) == 3, task.communicate(timeout=20)[0]
    task.terminate()
    told, _ = task.communicate(timeout=60)
    assert alive(job) == []
    assert "to be retried:" in told
    assert run.find(EXTRACT) is None


# --- a job whose supervisor is gone

JOB = """
import subprocess, sys, time
from pathlib import Path
from ml.flow import STAGES
from ml.runs import load_run
from ml.stages import Result, run_stage

def work(context):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(sys.argv[2]).touch()
    time.sleep(600)
    return Result()

run_stage(load_run(sys.argv[1]), STAGES["extract"], work)
"""
# Starts what it is told to, as its supervisor, and waits for it.
SUPERVISOR = """
import os, subprocess, sys
from ml.supervision import SUPERVISOR_VARIABLE, identity
sys.exit(subprocess.run(sys.argv[1:], env={**os.environ, SUPERVISOR_VARIABLE: identity()}).returncode)
"""


def test_a_job_ends_by_itself_once_its_supervisor_is_gone(opened, start, tmp_path):
    run, ready = opened(), tmp_path / "ready"
    supervisor = start([sys.executable, "-c", SUPERVISOR, sys.executable, "-c", JOB, run.uri, str(ready)])
    wait_for("the job", ready.exists)
    job = start.watch(supervisor)[1:]
    assert len(job) == 2
    supervisor.kill()
    wait_for("the end of the job", lambda: not alive(job), 30)
    assert run.find(EXTRACT) is None


# --- a Spark job that is killed while it writes


def writing(run) -> bool:
    """Whether an attempt at extraction holds something; Spark's files in the making have hidden names."""
    folder = storage.local_path(storage.join(run.key_uri(EXTRACT), "attempts"))
    return any(path.is_file() for path in folder.rglob("*"))


def kill_tree(processes: list[psutil.Process]) -> None:
    for process in processes:
        process.kill()


def kill_jvm(processes: list[psutil.Process]) -> None:
    next(process for process in processes if process.name() == "java").kill()


def kill_supervisor(processes: list[psutil.Process]) -> None:
    processes[0].kill()


@pytest.mark.slow
@pytest.mark.parametrize("kill", [kill_tree, kill_jvm, kill_supervisor])
def test_a_spark_job_killed_while_it_writes_is_read_by_nobody_and_done_again(opened, start, kill):
    run = opened()
    java = {"JAVA_HOME": str(java_home())}
    supervisor = start([sys.executable, "-c", SUPERVISOR, *submit("extract", run.uri)], **java)
    wait_for("a file of the attempt", lambda: writing(run))
    processes = start.watch(supervisor)
    names = [process.name() for process in processes]
    assert "java" in names
    assert any(name.startswith("python") for name in names[names.index("java") :]), names  # the driver
    kill(processes)
    # The JVM, the Python driver and Spark's Python workers; the supervisor is of the test's own making.
    wait_for("the end of the job", lambda: not alive(processes), 60)
    assert run.find(EXTRACT) is None
    (killed,) = Path(storage.local_path(run.key_uri(EXTRACT)), "attempts").iterdir()
    assert not (killed / "manifest.json").exists()

    retry = start(submit("extract", run.uri), **java, **{SUPERVISOR_VARIABLE: identity()})
    told, _ = retry.communicate(timeout=300)
    assert retry.returncode == 0, told
    done = load_run(run.uri).find(EXTRACT)
    assert done == load_manifest(done.uri)
    assert done.attempt != killed.name
    assert done.whole()
    assert done.rows("boxes") == done.ledger["boxes of the classes that matter"] > 0
