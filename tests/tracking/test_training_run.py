"""Tests of `ml.tracking.training_run`: the record in MLflow of a training, however it ends, and of its evaluation."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient

from ml import storage
from ml.config.deployment import DEPLOYMENT_VARIABLE
from ml.errors import ConfigurationError, ResourceError, TransientError
from ml.tracking import evaluation, experiments, recording, training_run
from ml.workflow.execution import Context
from ml.workflow.manifest import Manifest
from support.features import make_features
from support.tracking import context_of, rows

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage root, with a space and a letter beyond ASCII, whose database is made once for all tests."""
    return tmp_path_factory.mktemp("stördge root")


@pytest.fixture(scope="module")
def features(root: Path) -> Manifest:
    return make_features(root, {"train": (8, 8), "validation": (4, 4), "test": (4, 4)})


@pytest.fixture(autouse=True)
def no_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DEPLOYMENT_VARIABLE, raising=False)


@pytest.fixture
def context(root: Path, features: Manifest, request: pytest.FixtureRequest) -> Context:
    """That of an attempt `a` of stage train in a run of the test's own."""
    return context_of(root, features, request.node.name)


@pytest.fixture
def client(root: Path) -> MlflowClient:
    return MlflowClient(experiments.tracking_uri(str(root)))


def losses(client: MlflowClient, run_id: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client.get_metric_history(run_id, "val_loss")]


def commit(context: Context) -> None:
    storage.write_bytes(context.path("manifest.json"), b"{}")


def deployment(folder: Path, monkeypatch: pytest.MonkeyPatch, mlflow: str) -> None:
    file = folder / "deployment.yaml"
    file.write_text(f"mlflow: {mlflow}\n")
    monkeypatch.setenv(DEPLOYMENT_VARIABLE, str(file))


def test_importing_the_module_loads_nothing_heavy() -> None:
    code = (
        "import sys, ml.tracking.training_run; print({'mlflow', 'tensorflow', 'keras', 'pyspark'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_experiments_lie_below_a_local_root_or_on_the_server_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert experiments.tracking_uri(f"file://{tmp_path}") == f"sqlite:///{tmp_path}/mlflow/mlflow.db"
    with pytest.raises(ConfigurationError, match="mlflow: http"):
        experiments.tracking_uri("memory://bucket/root")
    deployment(tmp_path, monkeypatch, "https://mlflow.example:5000/")
    assert experiments.tracking_uri("memory://bucket/root") == "https://mlflow.example:5000"
    deployment(tmp_path, monkeypatch, "mlflow.example")
    with pytest.raises(ConfigurationError, match=r"mlflow = 'mlflow\.example'"):
        experiments.tracking_uri("memory://bucket/root")


names = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from([".", "..", "a/b", "/"])
numbers = st.floats(0, 1) | st.integers(0, 9)
metrics = st.recursive(
    st.dictionaries(names, numbers | st.none() | st.text(max_size=3), max_size=4),
    lambda inner: st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@given(metrics)
def test_every_flattened_metric_has_a_name_and_a_value_that_mlflow_takes(nested: dict[str, Any]) -> None:
    from mlflow.utils.validation import _validate_metric

    for name, value in recording.flatten({"test": nested}).items():
        assert name.startswith("test")
        _validate_metric(name, value, 0, 0)


def test_metrics_with_intervals_are_flattened_beside_their_values() -> None:
    nested = {
        "accuracy": {"value": 0.9, "low": 0.8, "high": 0.95, "count": 100},
        "slices": {"age: young": {"recall": {"value": 0.7, "count": 3}, "count": 10}},
        "auc": {"value": None},
        "majority": {"label": "male", "value": 0.5},
    }
    assert recording.flatten(nested) == {
        "accuracy": 0.9,
        "accuracy_low": 0.8,
        "accuracy_high": 0.95,
        "slices/age- young/recall": 0.7,
        "slices/age- young/count": 10,
        "majority": 0.5,
    }


def test_a_training_is_recorded(context: Context, client: MlflowClient) -> None:
    with training_run.track(context) as tracked:
        for done in (1, 2):
            tracked.log_history(rows(1, 2)[:done])
        tracked.log_file("curves.png", b"a plot")
        told = tracked.finish({"best_epoch": 2, "validation": {"accuracy": 0.75}})
    run = client.get_run(told.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == context.run.run_id
    assert run.data.tags["attempt"] == context.uri
    assert run.data.params["batch_size"] == "16"
    assert run.data.params["margin"] == "0.2"  # of a stage before
    assert "force" not in run.data.params
    assert losses(client, run.info.run_id) == [(1, 2.0), (2, 1.0)]
    assert run.data.metrics["validation/accuracy"] == 0.75
    data = {used.dataset.name: used.dataset for used in run.inputs.dataset_inputs}
    assert data["features"].digest == context.inputs["featurize"].key
    assert json.loads(data["release"].profile) == context.run.sources
    assert Path(client.download_artifacts(run.info.run_id, "curves.png")).read_bytes() == b"a plot"
    assert client.get_experiment(told.experiment_id).name == "open-images-human-face"
    assert told.tracking_uri == experiments.tracking_uri(context.run.root)
    assert told.unrecorded == []


def test_the_model_answers_in_mlflow_as_it_does_here(
    root: Path, context: Context, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    from ml.model.classifier import Classifier
    from support.models import make_model

    classifier = Classifier.load(make_model(root))
    with training_run.track(context) as tracked:
        tracked.log_model(classifier.network, classifier.description)
        told = tracked.finish({"accuracy": 0.5})
    assert told.unrecorded == []
    model = client.get_logged_model(told.model_id)
    assert model.status == "READY"
    assert model.source_run_id == told.run_id
    assert {metric.key: metric.value for metric in model.metrics} == {"accuracy": 0.5}
    monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", told.tracking_uri)
    loaded = mlflow.pyfunc.load_model(f"models:/{told.model_id}")
    assert loaded.metadata.metadata["attempt"] == context.uri
    chips = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), np.uint8)
    np.testing.assert_allclose(loaded.predict(chips), classifier.predict(chips), atol=1e-6)
    with pytest.raises(mlflow.MlflowException, match="schema"):
        loaded.predict(chips / np.float32(255))


def test_a_retry_goes_on_with_the_run_of_the_killed_attempt_and_doubles_no_point(
    root: Path, features: Manifest, client: MlflowClient
) -> None:
    first = context_of(root, features, "killed", "a")
    killed = training_run.TrackedRun(first)  # never closed: as a process leaves it that is killed
    killed.log_history(rows(1, 2, 3))
    killed.close()
    assert client.get_run(killed.run_id).info.status == "RUNNING"
    second = context_of(root, features, "killed", "b")
    with training_run.track(second) as tracked:
        assert tracked.run_id == killed.run_id
        tracked.log_history(rows(1, 2))  # its last checkpoint was older
        tracked.log_history(rows(1, 2, 3, 4))
        tracked.finish({})
    assert losses(client, killed.run_id) == [(1, 2.0), (2, 1.0), (3, 2 / 3), (4, 0.5)]
    assert client.get_run(killed.run_id).data.tags["attempt"] == second.uri
    # FINISHED, but not committed: still the same training. Once it is committed, redoing it is another.
    with training_run.track(context_of(root, features, "killed", "c")) as again:
        assert again.run_id == killed.run_id
        again.finish({})
    commit(context_of(root, features, "killed", "c"))
    with training_run.track(context_of(root, features, "killed", "d")) as other:
        assert other.run_id != killed.run_id
        other.finish({})


def test_other_runs_and_other_parameters_have_mlflow_runs_of_their_own(root: Path, features: Manifest) -> None:
    found = set()
    for number, (run_id, values) in enumerate([("one", {}), ("two", {}), ("one", {"epochs": 3})]):
        context = context_of(root, features, run_id, str(number), **values)
        tracked = training_run.TrackedRun(context)
        tracked.close()
        found.add(tracked.run_id)
    assert len(found) == 3


@pytest.mark.parametrize(("error", "status"), [(ValueError("no number"), "FAILED"), (KeyboardInterrupt(), "KILLED")])
def test_a_failure_is_recorded_and_forgotten_by_the_retry(
    root: Path, features: Manifest, client: MlflowClient, error: BaseException, status: str
) -> None:
    with pytest.raises(type(error)), training_run.track(context_of(root, features, f"ends {status}", "a")) as tracked:
        raise error
    run = client.get_run(tracked.run_id)
    assert run.info.status == status
    assert run.data.tags["error"] == f"{type(error).__name__}: {error}"
    with training_run.track(context_of(root, features, f"ends {status}", "b")) as retried:
        assert retried.run_id == tracked.run_id
        assert "error" not in client.get_run(tracked.run_id).data.tags
        assert client.get_run(tracked.run_id).info.status == "RUNNING"


@contextlib.contextmanager
def mlflow_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """MLflow takes nothing for a while."""

    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("nobody there")

    with monkeypatch.context() as patch:
        for name in ("log_batch", "log_artifacts", "set_terminated"):
            patch.setattr(MlflowClient, name, refuse)
        yield


def test_mlflow_away_for_a_while_loses_nothing(
    context: Context, client: MlflowClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with training_run.track(context) as tracked:
        with mlflow_away(monkeypatch):
            tracked.log_history(rows(1))
            tracked.log_file("curves.png", b"a plot")
        assert "could not record metrics of epochs; it will be tried again: nobody there" in caplog.text
        tracked.log_history(rows(1, 2))
        told = tracked.finish({})
    assert told.unrecorded == []
    assert losses(client, tracked.run_id) == [(1, 2.0), (2, 1.0)]
    assert client.list_artifacts(tracked.run_id)[0].path == "curves.png"


def test_mlflow_away_at_the_end_loses_no_training(
    context: Context, client: MlflowClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with training_run.track(context) as tracked:
        tracked.log_history(rows(1))
        with mlflow_away(monkeypatch):
            tracked.log_file("curves.png", b"a plot")
            told = tracked.finish({"accuracy": 0.5})
    assert told.unrecorded == ["curves.png", "metrics of the model", "the end"]
    assert "not recorded: curves.png, metrics of the model, the end" in caplog.text
    assert losses(client, tracked.run_id) == [(1, 2.0)]


def test_a_server_that_is_down_refuses_the_training_at_once(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    deployment(tmp_path, monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(TransientError, match=r"http://127\.0\.0\.1:9 does not answer"), training_run.track(context):
        pytest.fail("the training began")


def test_a_database_that_cannot_be_used_refuses_the_training(
    features: Manifest, root: Path, tmp_path: Path, client: MlflowClient
) -> None:
    client.search_experiments()  # so that the database is there
    context = context_of(tmp_path, features, "refused")
    database = tmp_path / "mlflow" / "mlflow.db"
    database.mkdir(parents=True)
    with pytest.raises(ResourceError, match="cannot be used"), training_run.track(context):
        pytest.fail("the training began")
    database.rmdir()
    database.write_bytes((root / "mlflow" / "mlflow.db").read_bytes())
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    with pytest.raises(ConfigurationError, match="mlflow db upgrade"), training_run.track(context):
        pytest.fail("the training began")


def test_an_evaluation_lands_in_the_run_of_its_model_and_the_newest_one_counts(
    context: Context, client: MlflowClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with training_run.track(context) as tracked:
        told = tracked.finish({})
    for attempt, accuracy in (("first", 0.9), ("second", 0.8)):
        metrics = {"accuracy": {"value": accuracy, "low": 0.7, "count": 10}}
        evaluation.log_evaluation(told, attempt, metrics, {"report.html": attempt.encode()})
    with mlflow_away(monkeypatch):
        evaluation.log_evaluation(told, "third", metrics, {})
    assert "could not record the evaluation" in caplog.text
    run = client.get_run(tracked.run_id)
    assert {name: value for name, value in run.data.metrics.items() if name.startswith("test")} == {
        "test/accuracy": 0.8,
        "test/accuracy_low": 0.7,
    }
    assert run.data.tags["evaluation"] == "second"
    assert run.info.status == "FINISHED"
    report = client.download_artifacts(run.info.run_id, "evaluation/report.html")
    assert Path(report).read_text() == "second"


def test_an_experiment_that_was_deleted_in_the_pages_comes_back(
    root: Path, features: Manifest, client: MlflowClient
) -> None:
    context = context_of(root, features, "restored", chip_class="Human hand")
    with training_run.track(context) as tracked:
        told = tracked.finish({})
    client.delete_experiment(told.experiment_id)
    commit(context)
    with training_run.track(context_of(root, features, "restored", "b", chip_class="Human hand")) as again:
        assert again.run_id != tracked.run_id


CHILD = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from support.tracking import context_of, rows
from ml.tracking.training_run import track
from ml.workflow.manifest import load_manifest
with track(context_of(Path({root!r}), load_manifest({features!r}), sys.argv[1])) as tracked:
    for epoch in range(1, 40):
        tracked.log_history(rows(*range(1, epoch + 1)))
    assert tracked.finish({{}}).unrecorded == []
print(tracked.run_id)
"""


@pytest.mark.slow
def test_two_trainings_at_once_make_one_database_and_are_both_recorded(features: Manifest, tmp_path: Path) -> None:
    code = CHILD.format(tests=str(ROOT / "tests"), root=str(tmp_path), features=features.uri)
    children = [
        subprocess.Popen([sys.executable, "-W", "ignore", "-c", code, name], cwd=ROOT, stdout=-1, stderr=-1, text=True)
        for name in ("one", "two")
    ]
    told, said = zip(*(child.communicate() for child in children), strict=True)
    assert said == ("", "")  # MLflow prints nothing either
    assert [child.returncode for child in children] == [0, 0]
    client = MlflowClient(experiments.tracking_uri(str(tmp_path)))
    for run_id in told:
        assert [step for step, _ in losses(client, run_id.strip())] == list(range(1, 40))
    assert len(client.search_experiments(filter_string="name LIKE 'open-images%'")) == 1


def pages(storage_root: Path, folder: Path) -> dict[str, Any]:
    """How to start `make mlflow` for a storage root."""
    file = folder / "pages.yaml"
    file.write_text(f"storage: {json.dumps(str(storage_root))}\n")
    environment = {**os.environ, DEPLOYMENT_VARIABLE: str(file), "PYTHONPATH": str(ROOT), "PORT": "5177"}
    return {"args": [sys.executable, str(ROOT / "scripts" / "mlflow_pages.py")], "env": environment, "text": True}


def test_pages_of_nothing_say_so(tmp_path: Path) -> None:
    done = subprocess.run(**pages(tmp_path, tmp_path), capture_output=True)
    assert done.returncode == 1
    assert done.stderr == (
        f"mlflow_pages: Nothing to show yet: no training has started under {tmp_path}. "
        "Train first: make demo, or make up.\n"
    )


@pytest.mark.slow
def test_pages_come_up_on_loopback_and_end_with_ctrl_c(root: Path, client: MlflowClient, tmp_path: Path) -> None:
    client.search_experiments()
    with subprocess.Popen(**pages(root, tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as shown:
        assert shown.stdout
        address = next(word for word in shown.stdout.readline().split() if word.startswith("http://"))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while shown.poll() is None:
            with contextlib.suppress(OSError), opener.open(f"{address}health") as answer:
                assert answer.read() == b"OK"
                break
            time.sleep(0.2)
        family = psutil.Process(shown.pid).children(recursive=True)
        heard = [c.laddr.ip for p in family for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert set(heard) == {"127.0.0.1"}
        shown.send_signal(signal.SIGINT)
        rest = shown.stdout.read()
    assert shown.returncode == 0
    assert "Traceback" not in rest
    assert not any(process.is_running() for process in family)
