"""The command `run`: which jobs it starts, and what it says of those that fail."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from ml import storage
from ml.commands import stages
from ml.commands.jobs import failure_of, job_command, job_environment, run_job
from ml.commands.stages import do_stage, do_stages, local_master
from ml.config.deployment import Deployment
from ml.errors import DataError, TransientError
from ml.flow.table import STAGES
from ml.workflow import layout
from ml.workflow.supervision import SUPERVISOR_VARIABLE
from support.features import make_features, make_run

SPARK = Deployment(spark_conf={"spark.ui.enabled": "false"})


@pytest.fixture
def run(tmp_path):
    """A run that has done the stages on Spark."""
    return make_run(tmp_path, make_features(tmp_path), database=False)


def test_a_stage_on_spark_is_submitted_with_the_deployments_properties(monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    program, *command = job_command(STAGES["chip"], "/runs/a", "first", SPARK, "local[2]")
    assert Path(program).name == "spark-submit"
    assert command[:3] == ["--master", "local[2]", "--conf=spark.ui.enabled=false"]
    assert Path(command[3]).read_text().startswith('"""chip')
    assert command[4:] == ["--run", "/runs/a", "--attempt", "first"]
    in_store = job_command(STAGES["chip"], "/runs/a", "first", Deployment(storage="s3://b/root"), "local[2]")
    assert any("hadoop-aws" in part for part in in_store)


def test_another_stage_is_a_process_of_this_python():
    command = job_command(STAGES["train"], "/runs/a", "first", SPARK, "local[2]")
    assert command == [sys.executable, "-m", "ml", "train", "--run", "/runs/a", "--attempt", "first"]


def test_a_job_knows_whom_to_end_with_and_spark_knows_java_and_python():
    assert SUPERVISOR_VARIABLE in job_environment(STAGES["train"], {})
    environment = job_environment(STAGES["chip"], {"PATH": os.environ["PATH"], "SPARK_LOCAL_IP": "127.0.0.2"})
    assert Path(environment["JAVA_HOME"], "bin", "java").exists()
    assert environment["PYSPARK_PYTHON"] == sys.executable
    assert environment["SPARK_LOCAL_IP"] == "127.0.0.2"


def test_cores_are_all_by_default():
    assert local_master(3) == "local[3]"
    assert local_master(None) == f"local[{len(os.sched_getaffinity(0))}]"


def test_a_jobs_output_is_logged_and_its_messages_are_shown(tmp_path):
    code = "print('noise'); print('12:00:01 INFO epoch 1/3: loss 0.5'); print('\xe4'); raise SystemExit(3)"
    messages = []
    with (tmp_path / "log").open("w") as log:
        assert run_job([sys.executable, "-c", code], os.environ, log, messages.append) == 3
    assert messages == ["epoch 1/3: loss 0.5"]
    assert (tmp_path / "log").read_text().splitlines()[0] == "noise"


def test_an_interrupted_command_ends_its_job_and_what_the_job_started(tmp_path):
    code = (
        "import subprocess; child = subprocess.Popen(['sleep', '60']); "
        "print(f'12:00:01 INFO {child.pid}', flush=True); child.wait()"
    )
    pids = []

    def interrupt(message):
        pids.append(int(message))
        raise KeyboardInterrupt

    with (tmp_path / "log").open("w") as log, pytest.raises(KeyboardInterrupt):
        run_job([sys.executable, "-c", code], os.environ, log, interrupt)
    (pid,) = pids
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_failed_jobs_own_error_is_raised_with_the_place_of_the_log(tmp_path):
    attempt = str(tmp_path / "attempt")
    assert isinstance(failure_of(attempt, "It ended.", Path("/log")), TransientError)
    storage.write_json(layout.error_uri(attempt), {"kind": "data", "message": "Too few.", "advice": "Add some."})
    error = failure_of(attempt, "It ended.", Path("/log"))
    assert isinstance(error, DataError)
    assert str(error) == "Too few. Add some. The job's log: /log"


def test_a_stage_is_found_done_skipped_or_done_by_a_job(run, tmp_path, monkeypatch):
    started = []

    def job(command, environment, log, on_message):
        started.append(command)
        return 1

    monkeypatch.setattr(stages, "run_job", job)
    with (tmp_path / "log").open("w") as log:
        assert do_stage(run, STAGES["compare"], SPARK, "local[1]", log, print).state == "skipped"
        assert started == []
        with pytest.raises(TransientError, match=r"Stage train ended with exit code 1\. See .*log"):
            do_stage(run, STAGES["train"], SPARK, "local[1]", log, print)
        assert len(started) == 1
    assert "--- train" in (tmp_path / "log").read_text()


def test_each_stage_has_its_line_in_order(run, monkeypatch):
    printed = io.StringIO()
    states = iter(["found", "done", "skipped"] * len(STAGES))
    monkeypatch.setattr(stages, "do_stage", lambda run, stage, *_: stages.Outcome(stage.name, next(states), 1.25))
    do_stages(run, SPARK, "local[1]", Console(file=printed, width=200))
    lines = printed.getvalue().splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(STAGES)
    assert lines[1].split()[1:] == ["found"]
    assert lines[2].split()[1:] == ["1.2", "s"]
    assert run.slug in lines[0]


def test_a_terminal_shows_the_messages_of_the_job_under_way(run, monkeypatch):
    def job(run, stage, deployment, master, log, on_message):
        on_message(f"epoch 1/3 of [{stage.name}]")
        return stages.Outcome(stage.name, "done", 1.0)

    printed = io.StringIO()
    monkeypatch.setattr(stages, "do_stage", job)
    do_stages(run, SPARK, "local[1]", Console(file=printed, width=200, force_terminal=True))
    assert f"train (6 of {len(STAGES)}): epoch 1/3 of [train]" in printed.getvalue()
