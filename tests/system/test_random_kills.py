"""Kills at random moments over the whole chain: a retry recovers from each, with an undisturbed run's content.

A moment is drawn evenly from the time that the undisturbed chain took, so it may hit the start of a JVM, the work, the
commit or the end of a stage. Stages before the one that is hit are found done. `make kills KILLS=<number>` runs it;
moments are drawn from `SEED=<text>`, by default the day.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml import storage
from ml.flow.table import STAGES
from ml.java import java_home
from ml.workflow import layout
from ml.workflow.content import content_files, first_difference
from ml.workflow.manifest import Manifest
from ml.workflow.opening import open_run
from ml.workflow.run import Run
from ml.workflow.supervision import SUPERVISOR_VARIABLE, identity
from support.airflow_root import SMALL, alive, end, family, submit, wait_for

pytestmark = pytest.mark.kills
KILLS = int(os.environ.get("KILLS", "25"))
SEED = os.environ.get("SEED") or datetime.date.today().isoformat()
CHAIN = ("extract", "join_labels", "chip", "featurize", "explore", "train", "evaluate")
# Trainings resume from a checkpoint that is a moment old at most.
VALUES = {**SMALL, "epochs": 4, "checkpoint_minutes": 0.001}
TOLERANCE = 1e-3  # of a probability: trainings on several threads differ in their last bits
SECONDS = 900.0


@dataclass
class Flow:
    """A storage root whose stages an undisturbed run has done.

    Attributes:
        root: The storage root.
        release: The release.
        expected: What the undisturbed run has left, by stage.
        seconds: How long each stage took.
    """

    root: str
    release: str
    expected: dict[str, Manifest]
    seconds: dict[str, float]

    def open(self, run_id: str) -> Run:
        return open_run(self.root, run_id, {"release": self.release, **VALUES})

    def forget(self, stage: str) -> None:
        """Let a stage count as not done; the attempts that runs have pinned stay."""
        for path in storage.survey(layout.stage_uri(self.root, stage)):
            if path.endswith("/current.json"):
                storage.remove(storage.join(layout.stage_uri(self.root, stage), path))


def job(run: Run, stage: str) -> subprocess.Popen[str]:
    """Start a stage's job as an operator does."""
    spark = STAGES[stage].engine == "spark"
    command = (
        submit(stage, run.uri, master="local[1]") if spark else [sys.executable, "-m", "ml", stage, "--run", run.uri]
    )
    return subprocess.Popen(
        command,
        env={**os.environ, "JAVA_HOME": str(java_home()), SUPERVISOR_VARIABLE: identity()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def do(run: Run, stage: str) -> tuple[str, float]:
    """Do a stage, and return the job's log and its seconds."""
    started = time.monotonic()
    process = job(run, stage)
    told, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, told[-6000:]
    return told, time.monotonic() - started


@pytest.fixture(scope="module")
def flow(sample_release, tmp_path_factory) -> Flow:
    flow = Flow(storage.normalize(tmp_path_factory.mktemp("kills")), str(sample_release), {}, {})
    run = flow.open("undisturbed")
    for stage in CHAIN:
        _, flow.seconds[stage] = do(run, stage)
        flow.expected[stage] = run.pinned(stage)
    return flow


# --- killing


def everything(processes: list[psutil.Process]) -> list[psutil.Process]:
    return processes


def the_jvm(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if process.name() == "java"]


def the_driver(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if any("spark_jobs/" in part for part in process.cmdline()[:3])][-1:]


def a_worker(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if "pyspark.daemon" in process.cmdline()][-1:]


def kill(process: subprocess.Popen[str], random: Random) -> str:
    """Kill a job, or a part of it if there is one now, and return what was killed."""
    processes = family(process.pid)
    what = random.choice([everything, the_jvm, the_driver, a_worker])
    found: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        found = what(processes)
    if not found or len(processes) == 1:
        what, found = everything, processes
    for each in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    return what.__name__.replace("_", " ")


def recovery(told: str) -> str:
    """Return in words how a retry did its work, from its log."""
    for line in told.splitlines():
        if "resuming after epoch" in line:
            return f"was {line[line.index('resuming after epoch') :]}"
    return "found it done" if "already done" in told else "did it again"


def strike(flow: Flow, number: int, random: Random) -> str | None:
    """Kill a stage of a new run, try it again, and compare; return a line about it, or None if it ended before."""
    (stage,) = random.choices(CHAIN, [flow.seconds[stage] for stage in CHAIN])
    moment = random.uniform(0, flow.seconds[stage])
    flow.forget(stage)
    run = flow.open(f"kill {number}")
    for before in CHAIN[: CHAIN.index(stage)]:
        assert run.find_or_adopt(STAGES[before]), f"{before} is done"
    process = job(run, stage)
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            told, _ = process.communicate(timeout=moment)
            assert process.returncode == 0, told[-6000:]
            return None
        processes = family(process.pid)
        killed = kill(process, random)
        process.communicate(timeout=SECONDS)
        wait_for("the end of the job", lambda: not alive(processes))
        ended = "ended well" if process.returncode == 0 else f"exit code {process.returncode}"
        committed = run.find_or_adopt(STAGES[stage]) is not None
        again, seconds = do(run, stage)
        assert run.pinned(stage).uri != flow.expected[stage].uri
        assert_same(stage, run.pinned(stage), flow.expected[stage])
    except BaseException:
        end(family(process.pid))
        raise
    assert not [path for path in storage.survey(flow.root) if "lease-" in path]
    before = ", was committed" if committed else ""
    return f"{stage:12} {moment:5.1f} s  {killed:12} {ended}{before}; the retry {recovery(again)} in {seconds:.1f} s"


# --- comparing


def assert_same(stage: str, found: Manifest, expected: Manifest) -> None:
    assert found.key == expected.key
    assert found.whole()
    assert found.ledger == expected.ledger
    if STAGES[stage].engine == "spark":
        assert first_difference(found, expected) is None
        return
    left, right = content_files(found), content_files(expected)
    assert left.keys() == right.keys()
    for name in left:
        if name.endswith(".parquet"):
            assert_same_rows(left[name], right[name])
    if stage == "explore":
        assert storage.read_json(left["explore.json"]) == storage.read_json(right["explore.json"])
    if stage == "train":
        assert found.metrics["epochs"] == expected.metrics["epochs"]
        one, other = (storage.read_json(side["reference.json"])["chips"] for side in (left, right))
        for chip, same in zip(one, other, strict=True):
            assert chip["probabilities"] == pytest.approx(same["probabilities"], abs=TOLERANCE)


def assert_same_rows(left: str, right: str) -> None:
    """Check that two tables are the same, apart from the last bits of probabilities."""
    one, other = (pq.read_table(Path(storage.local_path(uri))) for uri in (left, right))
    assert one.schema.equals(other.schema)
    for name in one.column_names:
        column, same = one.column(name).to_pylist(), other.column(name).to_pylist()
        assert column == (
            pytest.approx(same, abs=TOLERANCE) if pa.types.is_floating(one.schema.field(name).type) else same
        )


def test_every_kill_at_a_random_moment_is_recovered_from_by_a_retry(flow):
    random, struck = Random(SEED), []
    took = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in flow.seconds.items())
    print(f"\nseed {SEED}; undisturbed: {took}")
    for number in range(3 * KILLS):
        if len(struck) < KILLS and (line := strike(flow, number, random)):
            struck.append(line)
            print(f"{len(struck):3} {line}", flush=True)
    assert len(struck) == KILLS
    last = flow.open("last")
    for stage in CHAIN:
        assert_same(
            stage, last.find_or_adopt(STAGES[stage]) or pytest.fail(f"{stage} is not done"), flow.expected[stage]
        )
