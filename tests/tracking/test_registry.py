"""The registry: versions, their tags, and which of them is champion."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from ml import storage
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError, ResourceError, TransientError
from ml.model.record import MlflowRun
from ml.tracking import experiments
from ml.tracking.local_registry import read_registered
from ml.tracking.registry import Registry
from support.promotions import make_candidate


@pytest.fixture
def registry(tmp_path):
    return Registry(str(tmp_path), TrainingConfig())


@pytest.fixture
def register(registry, tmp_path):
    """Register a training, and give its version."""

    def register_(name, as_of="2026-01-01T00:00:00+00:00", right=108):
        made = make_candidate(tmp_path, name, as_of, right)
        return registry.register(made.trained, made.evaluated, made.run.uri, made.as_of, {"run_id": name})

    return register_


def client_of(registry):
    return experiments.connect(registry.uri)


def test_a_version_says_what_it_is_and_where_its_attempts_lie(registry, register, tmp_path):
    version = register("a")
    assert (version.model, version.number, version.accuracy) == ("open-images-human-face", 1, 0.9)
    assert version.train.endswith("/train/0a/attempts/a")
    assert version.evaluate.endswith("/evaluate/0e/attempts/a")
    assert storage.exists(storage.join(version.run, "run.json"))
    assert version.decision is None
    tags = client_of(registry).get_model_version(version.model, "1").tags
    assert tags["run_id"] == "a"
    assert registry.versions() == [version]


def test_the_same_training_registered_twice_is_one_version(registry, register):
    first = register("a")
    assert register("a") == first
    assert register("b").number == 2
    assert [version.number for version in registry.versions()] == [1, 2]


def test_a_training_found_done_later_takes_over_the_later_runs_evaluation(register):
    register("a")
    later = register("a", as_of="2026-02-01T00:00:00+00:00", right=60)
    assert (later.number, later.as_of, later.accuracy) == (1, "2026-02-01T00:00:00+00:00", 0.5)
    assert register("a", as_of="2025-12-01T00:00:00+00:00", right=12) == later, "an earlier one takes nothing back"


def test_the_champion_until_now_becomes_previous(registry, register):
    for name in "abc":
        register(name)
    assert (registry.champion(), registry.previous()) == (None, None)
    registry.promote(1, instead_of=None)
    assert (registry.champion().number, registry.previous()) == (1, None)
    registry.promote(2, instead_of=1)
    registry.promote(3, instead_of=2)
    assert (registry.champion().number, registry.previous().number) == (3, 2)


def test_a_promotion_that_is_tried_again_moves_nothing_more(registry, register):
    register("a")
    register("b")
    registry.promote(1, instead_of=None)
    registry.promote(2, instead_of=1)
    registry.promote(2, instead_of=1)
    assert (registry.champion().number, registry.previous().number) == (2, 1)


def test_a_champion_other_than_the_one_compared_with_refuses_the_promotion(registry, register):
    for name in "abc":
        register(name)
    registry.promote(1, instead_of=None)
    registry.promote(2, instead_of=1)
    with pytest.raises(ConfigurationError, match="version 2 is champion"):
        registry.promote(3, instead_of=1)
    with pytest.raises(ConfigurationError, match="version 2 is champion"):
        registry.promote(3, instead_of=None)
    assert registry.champion().number == 2


def test_moving_back_swaps_champion_and_previous(registry, register):
    register("a")
    register("b")
    registry.promote(1, instead_of=None)
    with pytest.raises(ConfigurationError, match="no previous champion to move back to"):
        registry.move_back("first")
    registry.promote(2, instead_of=1)
    assert [version.number for version in registry.move_back("second")] == [1, 2]
    assert (registry.champion().number, registry.previous().number) == (1, 2)
    registry.move_back("third")
    assert (registry.champion().number, registry.previous().number) == (2, 1)


def test_a_move_back_that_is_tried_again_is_made_once(registry, register):
    register("a")
    register("b")
    registry.promote(1, instead_of=None)
    registry.promote(2, instead_of=1)
    for _ in range(2):
        assert [version.number for version in registry.move_back("run: 1")] == [1, 2]
        assert (registry.champion().number, registry.previous().number) == (1, 2)


def test_a_move_back_that_was_ended_between_the_aliases_is_ended_by_its_next_try(registry, register, monkeypatch):
    from mlflow import MlflowClient

    register("a")
    register("b")
    registry.promote(1, instead_of=None)
    registry.promote(2, instead_of=1)
    set_alias = MlflowClient.set_registered_model_alias

    def end(client, name, alias, version):
        if alias == "champion":
            raise KeyboardInterrupt
        set_alias(client, name, alias, version)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_registered_model_alias", end)
        with pytest.raises(KeyboardInterrupt):
            registry.move_back("run")
    assert registry.champion().number == 2
    assert [version.number for version in registry.move_back("run")] == [1, 2]
    assert (registry.champion().number, registry.previous().number) == (1, 2)


def test_a_move_back_that_another_promotion_overtook_is_refused(registry, register):
    for name in "abc":
        register(name)
    registry.promote(1, instead_of=None)
    registry.promote(2, instead_of=1)
    registry.move_back("run")
    registry.promote(3, instead_of=1)
    with pytest.raises(ConfigurationError, match="version 3 is champion"):
        registry.move_back("run")
    assert registry.champion().number == 3


def test_a_decision_is_kept_with_who_and_when(registry, register):
    register("a")
    registry.decide(1, "rejected", "by ada")
    version = registry.version(1)
    assert version.decision == "rejected"
    assert version.decided.startswith("by ada, 20")
    assert version.decided.endswith(" UTC")


def test_a_number_that_is_no_version_is_named(registry, register):
    for ask in (registry.version, lambda number: registry.promote(number, None)):
        with pytest.raises(ConfigurationError, match="has no version 7"):
            ask(7)
    register("a")
    for ask in (registry.version, lambda number: registry.promote(number, None)):
        with pytest.raises(ConfigurationError, match="has no version 7"):
            ask(7)


def test_a_look_at_a_registry_that_is_not_there_makes_none(registry, tmp_path):
    assert (registry.versions(), registry.champion(), registry.previous()) == ([], None, None)
    with pytest.raises(ConfigurationError, match="no previous champion to move back to"):
        registry.move_back("run")
    assert list(tmp_path.iterdir()) == []


def test_classes_have_registered_models_of_their_own(registry, register, tmp_path):
    register("a")
    registry.promote(1, instead_of=None)
    cats = Registry(str(tmp_path), TrainingConfig(chip_class="Cat", labels={"big": ["Lion"], "small": ["Kitten"]}))
    assert cats.name == "open-images-cat"
    assert cats.champion() is None


def test_a_version_is_loaded_by_mlflow_from_the_model_that_its_training_logged(registry, tmp_path):
    make_candidate(tmp_path, "first")  # makes the database
    client, experiment = experiments.open_experiment(registry.uri, TrainingConfig())
    run = client.create_run(experiment).info.run_id
    model = client.create_logged_model(experiment, name="compact", source_run_id=run)
    logged = MlflowRun(run_id=run, experiment_id=experiment, model_id=model.model_id, tracking_uri=registry.uri)
    made = make_candidate(tmp_path, "logged", mlflow=logged)
    version = registry.register(made.trained, made.evaluated, made.run.uri, made.as_of)
    found = client.get_model_version(registry.name, str(version.number))
    assert (found.source, found.run_id) == (model.artifact_location, run)


def test_an_alias_on_a_version_that_somebody_else_registered_is_named(registry, register):
    register("a")
    client = client_of(registry)
    client.create_model_version(registry.name, "file:///elsewhere")
    assert [version.number for version in registry.versions()] == [1]
    client.set_registered_model_alias(registry.name, "champion", "2")
    with pytest.raises(ConfigurationError, match="Version 2 of open-images-human-face names no training"):
        registry.champion()


def test_a_root_elsewhere_needs_a_tracking_server():
    with pytest.raises(ConfigurationError, match="tracking server"):
        Registry("s3://bucket/root", TrainingConfig())


def test_a_server_that_does_not_answer_may_be_tried_again(tmp_path, monkeypatch):
    (tmp_path / "deployment.yaml").write_text("mlflow: http://127.0.0.1:9\n")
    monkeypatch.setenv("OPEN_IMAGES_CONFIG", str(tmp_path / "deployment.yaml"))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TransientError, match=r"127\.0\.0\.1:9"):
        Registry("s3://bucket/root", TrainingConfig()).champion()


def test_a_database_that_is_none_is_named(registry, tmp_path):
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "mlflow.db").write_text("no database, but long enough to look like a damaged one" * 20)
    with pytest.raises(ResourceError, match=r"mlflow\.db"):
        registry.champion()


# --- read without MLflow


@pytest.fixture
def without_local(monkeypatch):
    """Read as from a tracking server: through MLflow's client only."""

    def read(registry):
        with monkeypatch.context() as patch:
            patch.setattr(Registry, "_read_local", lambda self: None)
            return registry.champion(), registry.previous(), registry.versions()

    return read


def test_a_local_database_is_read_as_mlflows_client_reads_it(registry, register, without_local):
    def compare():
        assert (registry.champion(), registry.previous(), registry.versions()) == without_local(registry)

    compare()
    for name in "abcd":
        register(name)
    compare()
    registry.promote(1, instead_of=None)
    registry.decide(1, "promoted", "by ada")
    registry.promote(3, instead_of=1)
    compare()
    client = client_of(registry)
    client.delete_model_version(registry.name, "3")
    client.delete_model_version(registry.name, "2")
    compare()
    assert (registry.champion(), [version.number for version in registry.versions()]) == (None, [1, 4])
    client.create_registered_model("another")
    client.create_model_version("another", "file:///elsewhere", tags={"train": "file:///x/stages/train/a/attempts/b"})
    client.set_registered_model_alias("another", "champion", "1")
    compare()


def test_a_database_with_other_tables_is_left_to_mlflow(registry, register):
    register("a")
    registry.promote(1, instead_of=None)
    database = Path(registry.uri.removeprefix("sqlite:///"))
    assert read_registered(database, registry.name).aliases == {"champion": 1}
    with sqlite3.connect(database) as connection:
        connection.execute("ALTER TABLE registered_model_aliases RENAME COLUMN workspace TO place")
    assert read_registered(database, registry.name) is None


def test_a_version_that_is_registered_already_needs_no_mlflow(register, registry, monkeypatch):
    first = register("a")

    def refuse(*_, **__):
        raise AssertionError("MLflow is asked")

    with monkeypatch.context() as patch:
        patch.setattr(experiments, "reach", refuse)
        assert register("a") == first
        assert register("a", as_of="2025-12-01T00:00:00+00:00") == first
        with pytest.raises(AssertionError, match="MLflow is asked"):
            register("a", as_of="2026-02-01T00:00:00+00:00")
    assert register("a", as_of="2026-02-01T00:00:00+00:00").as_of == "2026-02-01T00:00:00+00:00"


def test_reading_the_champion_of_a_local_database_loads_no_mlflow(registry, register, tmp_path):
    register("a")
    registry.promote(1, instead_of=None)
    code = (
        "import sys; from ml.config.training import TrainingConfig; from ml.tracking.registry import Registry; "
        f"print(Registry({str(tmp_path)!r}, TrainingConfig()).champion().number, 'mlflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False"]
