"""Runs and promotions that are started at once: each stage is done once, and no promotion is lost.

`AT_ONCE=10` starts more than the few of the suite.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from ml import storage
from ml.config.deployment import DEPLOYMENT_VARIABLE
from ml.config.training import TrainingConfig
from ml.java import java_home
from ml.model.record import MlflowRun
from ml.tracking import experiments
from ml.tracking.registry import Registry
from ml.workflow.opening import open_run
from ports import HOST, free_port
from support.airflow_root import SMALL, attempts, end, family, submit, wait_for
from support.promotions import make_candidate

pytestmark = pytest.mark.slow
AT_ONCE = int(os.environ.get("AT_ONCE", "3"))
SPARK = ("extract", "join_labels", "chip", "featurize")
MODEL = ("explore", "train", "evaluate")


@pytest.fixture
def start():
    """Start processes that are ended with all their descendants at the test's end."""
    started = []

    def start_(command, **environment):
        process = subprocess.Popen(
            command,
            env={**os.environ, "JAVA_HOME": str(java_home()), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start_
    end([relative for process in started for relative in family(process.pid)])
    for process in started:
        process.communicate(timeout=20)


def outcome(process, seconds=1800):
    told, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0, told[-6000:]
    return told


def test_runs_at_once_do_each_stage_once_and_end_with_the_same_attempts(sample_release, tmp_path, start):
    values = {"release": str(sample_release), **SMALL}
    runs = [open_run(str(tmp_path / "storage"), f"run {number}", values) for number in range(AT_ONCE)]
    chain = []
    for run in runs:
        commands = [submit(stage, run.uri, master="local[1]") for stage in SPARK]
        commands += [[sys.executable, "-m", "ml", stage, "--run", run.uri] for stage in MODEL]
        chain.append("set -e\n" + "\n".join(" ".join(f"'{part}'" for part in command) for command in commands))
    told = [outcome(process) for process in [start(["bash", "-c", script]) for script in chain]]
    assert sorted(name.partition("/")[0] for name in attempts(tmp_path / "storage")) == sorted((*SPARK, *MODEL))
    for stage in (*SPARK, *MODEL):
        assert len({run.pinned(stage).uri for run in runs}) == 1, stage
        assert runs[0].pinned(stage).whole()
    assert any("waiting for run " in text for text in told)
    assert not [path for path in storage.survey(runs[0].root) if "lease-" in path]


# --- promotions

# Opens a promotion, and makes its candidate champion as soon as all have got so far. One whose champion has changed
# meanwhile starts again. It prints each of its tries: the version, and the champion that it was to replace.
PROMOTE = """
import json, sys, time
from pathlib import Path
from ml.config.deployment import load_deployment
from ml.errors import ConfigurationError
from ml.promotion.run import gate, open_promotion, promote

root, candidate, name, meeting, all = sys.argv[1:]
for number in range(100):
    values = {"candidate": candidate, "compare": False, "allow_older": True}
    promotion = open_promotion(root, f"{name} {number}", values, load_deployment())
    gate(promotion.run)
    Path(meeting, name).touch()
    while len(list(Path(meeting).iterdir())) < int(all):
        time.sleep(0.01)
    tried = {"version": promotion.candidate.number, "instead_of": getattr(promotion.champion, "number", None)}
    try:
        promote(promotion.run, f"by {name}")
    except ConfigurationError as error:
        assert "Start the promotion again" in str(error), error
        print(json.dumps({**tried, "promoted": False}))
    else:
        print(json.dumps({**tried, "promoted": True}))
        break
"""


@pytest.fixture(params=["database", "server"])
def tracking(request, tmp_path, monkeypatch, start):
    """Where the registry is: MLflow's database under the storage root, or a server."""
    if request.param == "database":
        return
    port = free_port(5000)
    database = f"sqlite:///{tmp_path / 'server.db'}"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database, "--host", HOST]
    server = start(
        [*command, "--port", str(port), "--workers", "2", "--artifacts-destination", str(tmp_path / "artifacts")],
        **experiments.SETTINGS,
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
    )
    deployment = tmp_path / "deployment.yaml"
    deployment.write_text(yaml.safe_dump({"mlflow": f"http://{HOST}:{port}"}))
    monkeypatch.setenv(DEPLOYMENT_VARIABLE, str(deployment))
    monkeypatch.setenv("NO_PROXY", HOST)

    def answers():
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"http://{HOST}:{port}/health", trust_env=False).status_code == 200
        return server.poll() is not None

    wait_for("the tracking server", answers)
    assert server.poll() is None, server.communicate()[0]


def logged(root: Path) -> MlflowRun:
    """Log a model that is nothing but a name, as the training of a candidate would."""
    uri = experiments.tracking_uri(str(root))
    client, experiment = experiments.open_experiment(uri, TrainingConfig())
    run = client.create_run(experiment).info.run_id
    model = client.create_logged_model(experiment, name="compact", source_run_id=run)
    return MlflowRun(run_id=run, experiment_id=experiment, model_id=model.model_id, tracking_uri=uri)


def test_of_promotions_at_once_none_is_lost(tracking, tmp_path, start):
    root, meeting = tmp_path / "storage", tmp_path / "meeting"
    meeting.mkdir()
    candidates = [make_candidate(root, f"candidate-{number}", mlflow=logged(root)) for number in range(AT_ONCE)]
    processes = [
        start([sys.executable, "-c", PROMOTE, str(root), each.trained.uri, f"p{number}", str(meeting), str(AT_ONCE)])
        for number, each in enumerate(candidates)
    ]
    tried = [json.loads(line) for process in processes for line in outcome(process).splitlines() if line[:1] == "{"]
    promoted = {each["version"]: each["instead_of"] for each in tried if each["promoted"]}
    registry = Registry(str(root), TrainingConfig())
    versions = registry.versions()
    assert [version.number for version in versions] == list(range(1, AT_ONCE + 1))
    assert {version.train for version in versions} == {each.trained.uri for each in candidates}
    assert set(promoted) == set(range(1, AT_ONCE + 1))
    assert {version.decision for version in versions} == {"promoted"}
    # All were compared with no champion; the first of them to be promoted made the others start again.
    assert sum(each["promoted"] for each in tried if each["instead_of"] is None) == 1
    assert sum(each["instead_of"] is None for each in tried) == AT_ONCE
    # Each champion was replaced once, so they form one line from the first to the last.
    champion, line = registry.champion().number, []
    while champion is not None:
        line.append(champion)
        champion = promoted[champion]
    assert sorted(line) == sorted(promoted)
    assert registry.previous().number == line[1]


def test_a_training_that_several_register_at_once_is_one_version(tracking, tmp_path, start):
    code = """
import sys
from ml.config.training import TrainingConfig
from ml.promotion.candidates import candidate_of
from ml.tracking.registry import Registry
made = candidate_of(sys.argv[2])
registry = Registry(sys.argv[1], TrainingConfig())
print("version", registry.register(made.trained, made.evaluated, made.run.uri, made.as_of).number)
"""
    root = tmp_path / "storage"
    made = make_candidate(root, "candidate", mlflow=logged(root))
    processes = [start([sys.executable, "-c", code, str(root), made.run.uri]) for _ in range(6)]
    assert {outcome(process).splitlines()[-1] for process in processes} == {"version 1"}
    assert [version.number for version in Registry(str(root), TrainingConfig()).versions()] == [1]
