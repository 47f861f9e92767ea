"""The whole flow, from a release's files to the report, by the DAG itself; and what a second run of it redoes.

Secrets are planted wherever one enters the runs: no log and no file that they leave may hold one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from airflow_environment import environment, migrate
from ml import storage
from ml.workflow.manifest import load_manifest
from spark_jobs.splitting import NEAR_DUPLICATE
from support.airflow_root import ROOT, SMALL, make_root
from support.secrets import SECRETS, planted

pytestmark = pytest.mark.slow
SPARK = ("extract", "join_labels", "chip", "featurize")
MODEL = ("explore", "train", "evaluate", "suspects")
STAGES = (*SPARK, *MODEL)  # these runs name no baseline, so nothing is compared
# A process of its own, as Airflow reads its settings at import. One for all runs, as importing it takes seconds.
RUNS = """
import json, os, sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], str(Path(sys.argv[1]).parent / "plugins")]
from support.airflow_root import attempts
from demo import run_dag
from airflow.models.xcom import XComModel
from airflow.sdk.log import configure_logging
from airflow.utils.session import create_session
from open_images.operators import spark

configure_logging()  # masks secrets, as the supervisor of each task does; `dag.test()` alone masks nothing
# The spark-submit that PATH finds first; jobs otherwise get that of their Python.
its = spark.job_environment
spark.job_environment = lambda: {**its(), "PATH": os.environ["PATH"]}
storage, stub, out = map(Path, sys.argv[2:5])
told = {}
for name, values in json.loads(sys.argv[5]).items():
    state, run_id = run_dag(values)
    with create_session() as session:
        pushed = {
            row.task_id: XComModel.deserialize_value(row)
            for row in session.query(XComModel).filter_by(run_id=run_id, key="return_value")
        }
    told[name] = {"state": state, "pushed": pushed, "attempts": sorted(attempts(storage))}
    out.write_text(json.dumps(told))
    # From the second run on there is no spark-submit to be had, not even the project's own.
    os.environ["PATH"] = os.pathsep.join([str(stub), os.environ["PATH"]])
    spark.job_environment = lambda: {"SPARK_HOME": ""}
"""


@pytest.fixture(scope="module")
def runs(sample_release, tmp_path_factory):
    """Four runs of the DAG, one after the other on one storage; by name their state, XCom values and attempts.

    Also: their log, the Airflow root, and the environment that spark-submit had.
    """
    folder = tmp_path_factory.mktemp("flow")
    root, stub, told, seen = folder / "root", folder / "stub", folder / "told.json", folder / "seen.txt"
    where = make_root(root, sample_release)
    migrate(root)
    stub.mkdir()
    submit = stub / "spark-submit"
    submit.write_text("#!/bin/sh\necho 'spark-submit was called' >&2\nexit 97\n")
    submit.chmod(0o755)
    wanted = {
        "first": SMALL,
        "again": SMALL,
        "threshold": {**SMALL, "threshold": 0.9},
        # The threshold by name: within one process Airflow's DAG keeps what the last run was given.
        "forced": {**SMALL, "threshold": 0.9, "force": "evaluate"},
    }
    own = environment(root)
    done = subprocess.run(
        [sys.executable, "-c", RUNS, str(ROOT / "tests"), str(where), str(stub), str(told), json.dumps(wanted)],
        env={**os.environ, **own, **planted(root, own, seen), "PYTHONPATH": str(ROOT / "scripts")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    found = json.loads(told.read_text()) if told.exists() else {}
    assert done.returncode == 0, done.stdout[-8000:]
    assert found["first"]["state"] == "success", done.stdout[-8000:]
    by_name = {name: SimpleNamespace(**run) for name, run in found.items()}
    return SimpleNamespace(**by_name, log=done.stdout, root=root, environment=seen.read_text())


def pushed(run, stage):
    return run.pushed[f"model.{stage}" if stage in MODEL else f"data.{stage}"]


def redone(run, before):
    """The stages of which a run has made new attempts."""
    return sorted(name.split("/")[0] for name in set(run.attempts) - set(before.attempts))


def test_every_task_pushes_what_it_did_and_where_it_lies(runs):
    first = runs.first
    assert storage.exists(storage.join(first.pushed["open_run"], "run.json"))
    assert set(first.pushed) == {"open_run", *(f"data.{s}" for s in SPARK), *(f"model.{s}" for s in MODEL)}
    for stage in STAGES:
        value = pushed(first, stage)
        manifest = load_manifest(value["attempt"])
        assert value["stage"] == manifest.stage == stage
        assert value["found_done"] is False
        assert value["ledger"] == manifest.ledger
        assert value == {**value, **manifest.metrics}
        assert manifest.whole()
    assert redone(first, SimpleNamespace(attempts=[])) == sorted(STAGES)


def test_the_counts_add_up_from_stage_to_stage(runs):
    extract, join, chip, featurize, evaluate = (
        pushed(runs.first, stage) for stage in ("extract", "join_labels", "chip", "featurize", "evaluate")
    )
    assert sum(extract["ledger"].values()) == extract["rows"]["boxes"]
    assert sum(join["ledger"].values()) == join["faces"] == extract["boxes"]["chipped"]
    assert sum(join["labelled"].values()) == join["ledger"]["labelled"] == sum(chip["ledger"].values())
    assert chip["ledger"]["chipped"] == sum(featurize["ledger"].values())
    assert 0 < chip["ledger"]["chipped"] < join["faces"]
    faces = featurize["faces"]
    by_split = {split: sum(labels.values()) for split, labels in faces.items()}
    assert by_split | {NEAR_DUPLICATE: 0} == featurize["ledger"]
    assert evaluate["faces"] == featurize["ledger"]["test"]
    assert evaluate["accuracy"]["count"] == sum(faces["test"].values())
    for manifest in (load_manifest(chip["attempt"]), load_manifest(featurize["attempt"])):
        files = [file for part in manifest.of_deliveries() for file in part.files]
        assert sum(file.rows or 0 for file in files) == chip["ledger"]["chipped"]


def test_training_tells_its_best_epoch_and_how_it_went(runs):
    train, featurize = pushed(runs.first, "train"), pushed(runs.first, "featurize")
    history = storage.read_json(train["history"])
    assert [row["epoch"] for row in history] == list(range(1, SMALL["epochs"] + 1))
    best = min(history, key=lambda row: row["val_loss"])
    assert train["best_epoch"] == best["epoch"]
    assert train["validation"]["loss"] > 0
    assert 0.05 <= train["threshold"] <= 0.95
    assert train["validation"]["faces"] == featurize["ledger"]["validation"]
    assert b"<svg" in storage.read_bytes(train["curves"])[:400]
    assert train["labels"] == featurize["labels"] == ["female", "male"]


def test_evaluation_tells_accuracy_with_its_interval_and_where_report_plots_and_model_lie(runs):
    evaluate, train = pushed(runs.first, "evaluate"), pushed(runs.first, "train")
    accuracy = evaluate["accuracy"]
    assert 0 <= accuracy["low"] <= accuracy["value"] <= accuracy["high"] <= 1
    assert accuracy["low"] < accuracy["high"]
    assert evaluate["model"] == train["attempt"]
    assert storage.exists(train["model"])
    assert set(evaluate["plots"]) >= {"confusion_matrix", "roc", "curves"}
    for uri in evaluate["plots"].values():
        content = storage.read_bytes(uri)
        assert content.startswith(b"\x89PNG") if uri.endswith(".png") else b"<svg" in content[:400], uri
    report = storage.read_bytes(evaluate["report"]).decode()
    assert "<html" in report
    assert f"{accuracy['value']:.1%}" in report


def test_a_second_run_finds_every_stage_done_and_submits_nothing(runs):
    assert runs.again.state == "success"
    for stage in STAGES:
        assert pushed(runs.again, stage) == {**pushed(runs.first, stage), "found_done": True}
    assert runs.again.attempts == runs.first.attempts
    assert runs.again.pushed["open_run"] != runs.first.pushed["open_run"]
    assert "spark-submit was called" not in runs.log


def test_another_threshold_redoes_evaluation_alone(runs):
    assert runs.threshold.state == "success"
    assert redone(runs.threshold, runs.again) == ["evaluate"]
    assert [s for s in STAGES if not pushed(runs.threshold, s)["found_done"]] == ["evaluate"]
    first, other = (storage.read_json(pushed(run, "evaluate")["metrics"]) for run in (runs.first, runs.threshold))
    assert first["threshold"] == pushed(runs.first, "train")["threshold"]
    assert other["threshold"] == 0.9
    assert other["auc"] == first["auc"]


def test_force_redoes_a_stage_that_is_found_done(runs):
    assert runs.forced.state == "success"
    assert redone(runs.forced, runs.threshold) == ["evaluate"]
    before, forced = pushed(runs.threshold, "evaluate"), pushed(runs.forced, "evaluate")
    assert forced["attempt"] != before["attempt"]
    assert Path(forced["attempt"]).parent == Path(before["attempt"]).parent  # the same key
    assert forced["accuracy"] == before["accuracy"]


def test_the_planted_secrets_reach_the_job(runs):
    assert "submitted: --master" in runs.log
    assert [place for place, secret in SECRETS.items() if secret not in runs.environment] == []


def test_no_secret_is_in_the_tasks_log(runs):
    assert [line for line in runs.log.splitlines() if any(secret in line for secret in SECRETS.values())] == []


def test_no_secret_is_in_what_the_runs_leave(runs):
    """Airflow's database holds rendered templates, XCom and parameters; the storage manifests, pages and MLflow."""
    files = [file for file in (runs.root / "var").rglob("*") if file.is_file()]
    names = {file.name for file in files}
    assert {"airflow.db", "mlflow.db", "run.json", "manifest.json", "report.html", "explore.html"} <= names
    found = {
        (str(file.relative_to(runs.root)), place)
        for file in files
        for place, secret in SECRETS.items()
        if secret.encode() in file.read_bytes()
    }
    assert found == set()
