"""A whole sweep by its DAG: the data once, each training once, and only the best is evaluated."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import pytest

from airflow_environment import environment, migrate
from ml import storage
from ml.promotion.candidates import newest_candidate
from ml.workflow.run import load_run
from support.airflow_root import ROOT, SMALL, attempts, make_root

pytestmark = pytest.mark.slow
RUN = """
import json, sys
sys.path += sys.argv[2:]
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from open_images_sweep import dag

run = dag.test(run_conf=json.loads(sys.argv[1]))
with create_session() as session:
    rows = session.query(XComModel).filter_by(run_id=run.run_id, key="return_value").order_by(XComModel.map_index)
    pushed = {}
    for row in rows:
        pushed.setdefault(row.task_id, []).append(XComModel.deserialize_value(row))
print(json.dumps([str(run.state), pushed]))
"""


@pytest.fixture(scope="module")
def done(sample_release, tmp_path_factory):
    """A sweep over two numbers of epochs: what its tasks pushed, and its storage."""
    root = tmp_path_factory.mktemp("sweep") / "root"
    where = make_root(root, sample_release)
    migrate(root)
    values = {**SMALL, "grid": {"epochs": [1, 2]}, "seeds": 1}
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(values), str(ROOT / "dags"), str(ROOT / "plugins")],
        env={**os.environ, **environment(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-8000:]
    state, pushed = json.loads(done.stdout.splitlines()[-1])
    assert state == "success", done.stdout[-8000:]
    return SimpleNamespace(pushed=pushed, storage=where)


def test_the_data_are_prepared_once_and_only_the_best_is_evaluated(done):
    assert Counter(name.split("/")[0] for name in attempts(done.storage)) == {
        **dict.fromkeys(("extract", "join_labels", "chip", "featurize", "explore", "sweep", "evaluate"), 1),
        "train": 2,
    }


def test_the_best_is_that_with_the_lowest_validation_loss(done):
    trained, (table,), (best,) = done.pushed["train"], done.pushed["sweep"], done.pushed["choose_best"]
    losses = [each["validation"]["loss"] for each in trained]
    assert [each["epochs"] for each in trained] == [1, 2]
    assert table["best"]["number"] == losses.index(min(losses))
    assert best == table["best"]["run"] == done.pushed["open_members"][0][table["best"]["number"]]
    assert load_run(best).pinned("train").uri == trained[table["best"]["number"]]["attempt"]
    assert [row["loss"]["mean"] for row in table["combinations"]] == sorted(losses)
    assert b"validation loss" in storage.read_bytes(table["report"])


def test_the_best_is_a_candidate_for_promotion(done):
    candidate = newest_candidate(str(done.storage))
    assert candidate.run.uri == done.pushed["choose_best"][0]
    assert candidate.evaluated.uri == done.pushed["evaluate"][0]["attempt"]
