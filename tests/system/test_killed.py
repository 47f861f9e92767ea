"""Work that is killed leaves nothing that anybody reads, no process of it lives on, and a retry does it whole."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import psutil
import pytest

from ml import storage
from ml.flow.table import STAGES
from ml.java import java_home
from ml.workflow.layout import CLAIM
from ml.workflow.manifest import load_manifest
from ml.workflow.opening import open_run
from ml.workflow.run import load_run
from ml.workflow.supervision import SUPERVISOR_VARIABLE, identity
from support.airflow_root import ROOT, alive, end, family, submit, wait_for
from support.features import make_features

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
from open_images.operators.process import ProcessStageOperator
from open_images.operators.spark import SparkStageOperator

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
    assert run.find_or_adopt(EXTRACT) is None


# --- a job whose supervisor is gone

JOB = """
import subprocess, sys, time
from pathlib import Path
from ml.flow.table import STAGES
from ml.workflow.execution import Result, run_stage
from ml.workflow.opening import open_run
from ml.workflow.run import load_run

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
from ml.workflow.supervision import SUPERVISOR_VARIABLE, identity
sys.exit(subprocess.run(sys.argv[1:], env={**os.environ, SUPERVISOR_VARIABLE: identity()}).returncode)
"""


def test_a_job_ends_by_itself_once_its_supervisor_is_gone(opened, start, tmp_path):
    run, ready = opened(), tmp_path / "ready"
    supervisor = start([sys.executable, "-c", SUPERVISOR, sys.executable, "-c", JOB, run.uri, str(ready)])
    wait_for("the job", ready.exists)
    job = start.watch(supervisor)[1:]
    assert len(job) == 2
    supervisor.kill()
    wait_for("the end of the job", lambda: not alive(job))
    assert run.find_or_adopt(EXTRACT) is None


# --- a Spark job that is killed while it writes


def attempts_of(run) -> Path:
    """Where the attempts at extracting the run's one delivery lie."""
    (delivery,) = run.deliveries
    key = run.part_key(EXTRACT, delivery)
    return Path(storage.local_path(storage.join(run.root, "stages", "extract", key, "attempts")))


def writing(run) -> bool:
    """Whether an attempt holds something beside its claim; Spark's files in the making have hidden names."""
    return any(path.is_file() and path.name != CLAIM for path in attempts_of(run).rglob("*"))


def kill_tree(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # a worker ends when its JVM does
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
    wait_for("the end of the job", lambda: not alive(processes))
    assert run.find_or_adopt(EXTRACT) is None
    (killed,) = attempts_of(run).iterdir()
    assert not (killed / "manifest.json").exists()

    retry = start(submit("extract", run.uri), **java, **{SUPERVISOR_VARIABLE: identity()})
    told, _ = retry.communicate(timeout=900)
    assert retry.returncode == 0, told
    done = load_run(run.uri).find_or_adopt(EXTRACT)
    assert done == load_manifest(done.uri)
    assert done.attempt != killed.name
    assert done.whole()
    assert done.rows("boxes") == done.ledger["boxes of the classes that matter"] > 0


# --- a training that is killed


@pytest.mark.slow
def test_a_training_killed_three_times_resumes_and_ends_like_one_that_was_not(sample_release, start, tmp_path):
    values = {"release": str(sample_release), "epochs": 6, "batch_size": 16, "min_faces": 5, "chip_size": 32}
    values |= {"checkpoint_minutes": 0.001, "network": "notebook"}  # which TensorFlow traces in half the time
    runs = {}
    for name in ("whole", "killed"):
        root = tmp_path / name
        runs[name] = open_run(str(root), "run", values)
        runs[name].pin(make_features(root, {"train": (100, 100), "validation": (20, 20), "test": (10, 10)}))
    whole, killed = ([sys.executable, "-m", "ml", "train", "--run", runs[name].uri] for name in ("whole", "killed"))
    told, _ = start(whole).communicate(timeout=900)
    expected = runs["whole"].find_or_adopt(STAGES["train"])
    assert expected, told

    random, resumed = Random(time.time_ns()), []
    state = storage.join(runs["killed"].key_uri(STAGES["train"]), "checkpoints", runs["killed"].slug, "state.json")

    def position():
        return storage.read_json(state) if storage.exists(state) else None

    for _ in range(3):
        before = position()
        process = start(killed)
        wait_for("a further checkpoint", lambda before=before: position() != before)
        time.sleep(random.uniform(0, 0.5))
        process.kill()
        resumed.append(process.communicate(timeout=60)[0])
    told, _ = start(killed).communicate(timeout=900)
    assert all("resuming after epoch" in text for text in (*resumed[1:], told)), (*resumed, told)
    found = runs["killed"].find_or_adopt(STAGES["train"])
    assert found, told
    assert found.metrics["epochs"] == expected.metrics["epochs"]
    assert found.metrics["validation"] == pytest.approx(expected.metrics["validation"], rel=1e-3, abs=1e-5)
    one, other = (storage.read_json(manifest.file("reference.json"))["chips"] for manifest in (found, expected))
    for chip, same in zip(one, other, strict=True):
        assert chip["probabilities"] == pytest.approx(same["probabilities"], abs=1e-3)
