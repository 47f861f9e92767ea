"""The commands about runs and models."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from ml.__main__ import app
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError
from ml.tracking.registry import Registry
from ml.workflow.run import slug
from support.promotions import make_candidate


@pytest.fixture
def ml(tmp_path):
    """Run a command on the test's storage root; return what it printed."""

    def run(*arguments):
        done = CliRunner().invoke(app, [*arguments, "--storage", str(tmp_path)], env={"COLUMNS": "200", "TERM": "dumb"})
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.output

    return run


@pytest.fixture
def two(tmp_path):
    """Two evaluated models, of which the second is champion."""
    made = [
        make_candidate(tmp_path, "first", right=90),
        make_candidate(tmp_path, "second", right=114, finished="2020-02-01T01:00:00+00:00"),
    ]
    registry = Registry(str(tmp_path), TrainingConfig())
    for candidate in made:
        registry.register(candidate.trained, candidate.evaluated, candidate.run.uri, candidate.as_of)
    registry.promote(2, instead_of=None)
    registry.decide(2, "promoted", "by ada")
    return made


def test_runs_are_listed_with_what_they_have_done(ml, two):
    rows = {row["id"]: row for row in json.loads(ml("runs", "--json"))}
    assert set(rows) == {"first", "second"}
    assert rows["second"]["accuracy"] == 0.95
    assert list(rows["second"]["stages"]) == ["featurize", "train", "evaluate"]
    shown = ml("runs")
    assert "0.950" in shown
    assert "first" in shown
    assert "1 older runs are not shown" in ml("runs", "--limit", "1")
    assert json.loads(ml("runs", "--flow", "prediction", "--json")) == []


def test_models_are_listed_newest_first_with_versions_and_decisions(ml, two):
    newest, oldest = json.loads(ml("models", "--json"))
    assert (newest["version"]["number"], newest["aliases"], newest["runs"]) == (2, ["champion"], ["second"])
    assert (oldest["version"]["number"], oldest["aliases"], oldest["accuracy"]) == (1, [], 0.75)
    shown = ml("models")
    assert "2 champion" in shown
    assert "promoted" in shown


def test_models_show_the_parameters_in_which_they_differ(ml, tmp_path):
    for name, seed in (("first", 1), ("second", 2)):
        candidate = make_candidate(tmp_path, name)
        file = tmp_path / "runs" / slug(name) / "run.json"
        content = json.loads(file.read_text())
        content["config"] |= {"seed": seed, "min_confidence": 0.5 + seed / 10}
        file.write_text(json.dumps(content))
        assert candidate
    header = next(line for line in ml("models").splitlines() if "accuracy" in line)
    assert "seed" in header
    assert "min_confidence" not in header, "on which no trained model depends"


@pytest.mark.parametrize("name", ["second", slug("second")])
def test_a_report_has_the_numbers_and_the_places_of_the_pages(ml, two, name, tmp_path):
    shown = ml("report", name)
    assert "accuracy" in shown
    assert "0.950" in shown
    assert f"{tmp_path}/stages/evaluate/0e/attempts/second/report.html" in shown
    assert "Perceived gender presentation, test split" in shown


def test_a_run_that_is_not_there_is_answered_with_those_that_are(ml, two):
    with pytest.raises(ConfigurationError, match=r"no run 'third'.*second"):
        ml("report", "third")


def test_two_models_are_compared_by_any_name(ml, tmp_path):
    make_candidate(tmp_path, "first", sharpness=1.0)
    make_candidate(tmp_path, "second", sharpness=40.0)
    shown = ml("compare", "second", "first")
    assert "on 120 test faces" in shown
    assert "difference" in shown
    assert "compare.html" in shown
    (listed,) = (line for line in ml("runs", "--flow", "comparison").splitlines() if "comparison" in line)
    assert "│ compare " in listed, "not the stages of the models that it compares"
    with pytest.raises(ConfigurationError, match="no model 'champion'"):
        ml("compare", "second", "champion")


def test_a_comparison_needs_two_models_or_a_run():
    for arguments in (["compare"], ["compare", "a"], ["compare", "a", "b", "--run", "c"]):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 2
        assert "two models, or a run" in done.output


def test_a_promotion_that_decides_nothing_says_why_once(ml, two, capfd, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "ml", "promote", "--candidate", "second", "--storage", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    told = done.stdout + done.stderr
    assert told.count("is champion already") == 1


def test_a_refusal_repeats_no_sentence_of_the_verdict(ml, tmp_path):
    make_candidate(tmp_path, "bad", right=60)
    done = CliRunner().invoke(app, ["promote", "--storage", str(tmp_path)])
    assert isinstance(done.exception, ConfigurationError)
    told = f"{done.output}\n{done.exception}"
    assert "always predicting the most frequent label" in str(done.exception)
    for sentence in ("Accuracy is at least", "Always predicting female reaches"):
        assert told.count(sentence) == 1


def test_the_help_says_what_the_program_does():
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    assert "Train a classifier of perceived gender presentation" in shown
    assert "python -m ml --help" not in shown


def test_a_shell_completes_commands_options_and_choices():
    def completed(line):
        variables = {"_ML_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
        code = "import sys; sys.argv[0] = 'ml'; from ml.__main__ import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **variables}
        )
        return done.stdout.split()

    assert {"report", "runs", "run"} <= set(completed("ml r"))
    assert completed("ml open-run --sched") == ["--schedule"]
    assert completed("ml open-run --schedule co") == ["cosine", "constant"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "/nowhere/photo.jpg", "--out", "out"],
        ["predict", "/nowhere", "--watch", "--out", "out"],
        ["export", "--run", "/nowhere/run", "--out", "out", "--format", "coco"],
        ["seal-delivery", "/nowhere/2020-01-01"],
        ["pack", "/nowhere", "out"],
        ["train", "--run", "/nowhere/run"],
        ["report", "x", "--storage", "/nowhere"],
        ["compare-content", "/nowhere/a", "/nowhere/b"],
        ["open-run", "--release", "/nowhere", "--storage", "/nowhere/storage"],
    ],
    ids=lambda arguments: " ".join(arguments[:1] + arguments[2:3]),
)
def test_a_wrong_argument_is_refused_before_anything_slow_is_imported(arguments, tmp_path):
    code = (
        "import sys, atexit; from ml.__main__ import main; sys.argv[1:] = " + repr(arguments) + "; "
        "atexit.register(lambda: print(*{name.split('.')[0] for name in sys.modules})); main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "/nowhere" in done.stderr
    assert done.stderr.startswith("error: ")
    slow = {"tensorflow", "keras", "mlflow", "sklearn", "scipy", "matplotlib", "cv2", "onnxruntime", "polars"}
    assert not slow & set(done.stdout.splitlines()[-1].split())
