"""Runs of the promotion flow: which candidate is taken, which is not and why, and what a decision leaves."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from ml import storage
from ml.__main__ import app
from ml.config.deployment import Deployment
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError, DataError
from ml.flow.table import STAGES
from ml.prediction.run import default_model
from ml.promotion.candidates import candidate_of_training, newest_candidate
from ml.promotion.run import NothingToDecideError, gate, load_promotion, move_back, open_promotion, promote, reject
from ml.stages.compare import compare
from ml.tracking.registry import Registry
from ml.workflow.execution import run_stage
from ml.workflow.run import load_run
from support.promotions import FACES, event_of, make_candidate

JANUARY, FEBRUARY, MARCH = (f"2026-0{month}-01T00:00:00+00:00" for month in (1, 2, 3))


@pytest.fixture
def registry(tmp_path):
    return Registry(str(tmp_path), TrainingConfig())


@pytest.fixture
def make(tmp_path):
    def make_(*arguments, **values):
        return make_candidate(tmp_path, *arguments, **values)

    return make_


@pytest.fixture
def open_(tmp_path):
    """Open a promotion with events of candidates; each has an id of its own."""

    def open__(*events, **values):
        number = len(list(tmp_path.glob("runs/promotion-*")))
        return open_promotion(str(tmp_path), f"promotion {number}", values, Deployment(), list(events))

    return open__


@pytest.fixture
def crown(open_, make):
    """Make a candidate champion, by the floor alone."""

    def crown_(name, as_of=JANUARY):
        promotion = open_(candidate=make(name, as_of).trained.uri, compare=False, allow_older=True)
        gate(promotion.run)
        return promote(promotion.run, "by ada")

    return crown_


# --- the choice


def test_the_candidate_that_knew_most_is_taken_of_those_that_triggered(open_, make):
    events = [event_of(make(name, instant)) for name, instant in (("a", FEBRUARY), ("b", MARCH), ("c", JANUARY))]
    promotion = open_(*events)
    assert promotion.candidate.train.endswith("/b")
    assert promotion.candidate.as_of == MARCH
    assert promotion.champion is None
    assert not promotion.compares


def test_backfills_are_passed_over_unless_asked_for(open_, make):
    scheduled, filled = event_of(make("a", JANUARY)), event_of(make("b", FEBRUARY), "backfill")
    with pytest.raises(NothingToDecideError, match="include_backfills"):
        open_(filled)
    assert open_(filled, scheduled).candidate.train.endswith("/a")
    assert open_(filled, scheduled, include_backfills=True).candidate.train.endswith("/b")


def test_a_manual_run_takes_the_newest_evaluated_model_of_all_training_runs(open_, make, tmp_path):
    make("b", FEBRUARY)
    first = open_()
    make("a", JANUARY)
    gone = make("c", MARCH)
    storage.remove(gone.evaluated.uri)
    assert first.candidate.train.endswith("/b")
    assert open_({"made": "by hand"}).candidate.number == first.candidate.number
    assert newest_candidate(str(tmp_path)).run.run_id == "b", "not the promotion's own run"


def test_without_any_evaluated_model_the_reader_is_told_so(open_):
    with pytest.raises(ConfigurationError, match="has evaluated a model yet"):
        open_()


def test_a_candidate_is_named_by_its_folder_or_its_number(open_, make, tmp_path):
    first = open_(candidate=make("a", JANUARY).trained.uri)
    make("b", FEBRUARY)
    assert open_(candidate="1").candidate == first.candidate
    path = storage.local_path(first.candidate.train)
    assert candidate_of_training(str(tmp_path), str(path)).trained.uri == first.candidate.train
    with pytest.raises(ConfigurationError, match="there is no model '7'"):
        open_(candidate="7")
    with pytest.raises(ConfigurationError, match="/nowhere is no run and no finished attempt"):
        open_(candidate="/nowhere")


def test_a_wrong_parameter_is_named(open_):
    with pytest.raises(ConfigurationError, match=r"margin = 2"):
        open_(margin=2)


def test_an_evaluation_that_is_gone_is_told(open_, make):
    made = make("a", JANUARY)
    storage.remove(made.evaluated.uri)
    with pytest.raises(DataError, match="never committed"):
        open_(event_of(made))


def test_of_several_candidates_those_that_are_gone_or_were_decided_upon_are_passed_over(open_, make):
    february, march, april = (
        event_of(make(name, f"2026-0{month}-01T00:00:00+00:00")) for name, month in (("a", 2), ("b", 3), ("c", 4))
    )
    reject(open_(march).run, "ada")
    storage.remove(april["attempt"])
    assert open_(april, february, march).candidate.train.endswith("/a")
    with pytest.raises(NothingToDecideError, match=r"ersion 1 .*decided before"):
        open_(april, march)


# --- what is not asked about


def test_the_champion_is_no_candidate(open_, make, crown):
    crown("a")
    for values in ({}, {"candidate": "1"}):
        with pytest.raises(NothingToDecideError, match="is champion already"):
            open_(event_of(make("a", JANUARY)), **values)


def test_what_was_decided_is_not_asked_again_unless_it_is_named(open_, make, registry):
    event = event_of(make("a", JANUARY))
    reject(open_(event).run, "ada")
    with pytest.raises(NothingToDecideError, match=r"decided before \(rejected: by ada, .*candidate: 1\."):
        open_(event)
    assert open_(candidate="1").candidate.decision == "rejected"


def test_an_older_candidate_is_asked_about_only_where_it_is_allowed_or_named(open_, make, crown):
    crown("champion", FEBRUARY)
    older = make("older", JANUARY)
    with pytest.raises(NothingToDecideError, match="older than the champion"):
        open_(event_of(older))
    assert open_(event_of(older), allow_older=True).compares
    named = open_(candidate=older.trained.uri, compare=False)
    assert [rule.name for rule in gate(named.run).rules if not rule.passed] == ["as_of"]


def test_a_candidate_is_superseded_by_a_newer_one_until_that_is_decided_against(open_, make, crown):
    crown("champion", JANUARY)
    newer = open_(event_of(make("newer", MARCH)))
    late = event_of(make("late", FEBRUARY))
    with pytest.raises(NothingToDecideError, match="superseded by version 2"):
        open_(late)
    assert open_(late, allow_older=True).candidate.number == 3
    reject(newer.run, "ada")
    assert open_(late).candidate.number == 3


# --- the run and its decision


def test_the_run_holds_what_stage_compare_needs_and_is_no_training(open_, make, crown):
    champion = crown("champion")
    made = make("a", FEBRUARY)
    promotion = open_(event_of(made))
    assert load_promotion(promotion.run) == promotion
    run = load_run(promotion.run)
    assert storage.read_json(storage.join(run.uri, "run.json"))["flow"] == "promotion"
    assert run.config.baseline == champion.train
    assert {name: manifest.uri for name, manifest in run.pins().items()} == {
        "featurize": made.trained.inputs["featurize"],
        "train": made.trained.uri,
        "evaluate": made.evaluated.uri,
    }
    with pytest.raises(DataError, match="compare has not been done"):
        gate(promotion.run)


def test_candidate_and_champion_are_compared_on_the_same_faces(tmp_path, open_, make, registry):
    first = make("champion", JANUARY, bias=6.0, sharpness=40.0)  # calls many faces male
    gate(open_(event_of(first)).run)
    promotion = open_(candidate="1")
    gate(promotion.run)
    promote(promotion.run, "by ada")
    promotion = open_(event_of(make("better", FEBRUARY, sharpness=40.0)))
    run = load_run(promotion.run)
    run_stage(run, STAGES["compare"], compare)
    verdict = gate(promotion.run)
    assert verdict.passed
    row = next(row for row in verdict.rows if row.metric == "accuracy")
    assert row.faces == sum(FACES["test"])
    assert row.difference == pytest.approx(row.candidate - row.champion)
    assert row.difference > 0
    assert storage.read_json(storage.join(run.uri, "verdict.json"))["passed"] is True
    assert promote(promotion.run, "by ada").number == 2
    assert (registry.champion().number, registry.previous().number) == (2, 1)
    assert [version.compared for version in registry.versions()] == ["", run.run_id]


def test_a_refusal_is_recorded_and_cannot_be_promoted(open_, make, registry):
    promotion = open_(event_of(make("bad", JANUARY, right=60)))
    with pytest.raises(ConfigurationError, match="has not passed"):
        promote(promotion.run, "by ada")
    assert not gate(promotion.run).passed
    with pytest.raises(ConfigurationError, match="has not passed"):
        promote(promotion.run, "by ada")
    version = registry.version(1)
    assert version.decision == "refused"
    assert "by the gate (Accuracy is at least" in version.decided
    assert registry.champion() is None
    told = storage.read_json(storage.join(promotion.run, "decision.json"))
    assert told["decision"] == "refused"


def test_a_rejection_and_no_answer_are_recorded(open_, make, registry):
    promotion = open_(event_of(make("a", JANUARY)), approval_hours=2)
    assert "was rejected by ada" in reject(promotion.run, "ada")
    assert registry.version(1).decision == "rejected"
    assert "timed out" in reject(promotion.run, None)
    version = registry.version(1)
    assert version.decision == "timed out"
    assert version.decided.startswith("no answer within 2 hours")


def test_predictions_use_the_champion_and_without_one_the_newest_training(make, crown, tmp_path):
    newest = make("newest", JANUARY, finished="2026-05-01T00:00:00+00:00")
    assert default_model(str(tmp_path), TrainingConfig()) == newest.trained.uri
    first = crown("a", JANUARY)
    assert default_model(str(tmp_path), TrainingConfig()) == first.train
    second = crown("b", FEBRUARY)
    assert default_model(str(tmp_path), TrainingConfig()) == second.train
    now, before = move_back(str(tmp_path), TrainingConfig(), "by ada", "first")
    assert (now.number, before.number) == (first.number, second.number)
    assert default_model(str(tmp_path), TrainingConfig()) == first.train
    version = Registry(str(tmp_path), TrainingConfig()).version(second.number)
    assert version.decision == "moved back"
    move_back(str(tmp_path), TrainingConfig(), "by ada", "second")
    version = Registry(str(tmp_path), TrainingConfig()).version(second.number)
    assert version.decision == "promoted", "it is champion once more"


def test_a_folder_that_is_no_promotion_is_named(make):
    with pytest.raises(ConfigurationError, match="not a run of the promotion flow"):
        gate(make("a").run.uri)


# --- the commands


def ml(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_prints_the_verdict_and_moves_nothing_unless_told(make, tmp_path, registry):
    make("a", JANUARY)
    done = ml("promote", "--storage", tmp_path)
    assert done.exit_code == 0
    assert "| accuracy | 0.900 |" in done.stdout
    assert "Nothing was changed" in done.stdout
    assert registry.champion() is None
    done = ml("promote", "--storage", tmp_path, "--yes")
    assert "Version 1 of open-images-human-face is champion." in done.stdout
    assert registry.version(1).decided.startswith("at the command line, ")
    assert "is champion already" in ml("promote", "--storage", tmp_path, "--yes").stdout
    listed = json.loads(ml("runs", "--storage", tmp_path, "--flow", "promotion", "--json").stdout)
    assert sorted(str(row["decision"]) for row in listed) == ["None", "promoted"]
    assert "│ promoted " in ml("runs", "--storage", tmp_path, "--flow", "promotion").stdout


def test_the_command_fails_where_the_gate_refuses(make, tmp_path, registry):
    make("bad", JANUARY, right=60)
    done = ml("promote", "--storage", tmp_path, "--yes")
    assert isinstance(done.exception, ConfigurationError)
    assert "The gate refuses Version 1" in str(done.exception)
    assert registry.champion() is None


def test_the_command_moves_back(crown, tmp_path, registry):
    crown("a", JANUARY)
    crown("b", FEBRUARY)
    done = ml("move-back", "--storage", tmp_path)
    assert "Version 1 of open-images-human-face is champion again and replaces version 2." in done.stdout
    assert registry.champion().number == 1


def test_the_commands_options_are_those_that_mean_something_without_airflow():
    told = CliRunner().invoke(app, ["promote", "--help"], env={"COLUMNS": "200"}).stdout
    assert "--slice-margin" in told
    assert "--approval-hours" not in told
