"""The help of commands: the values in force, with types and bounds."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from ml.__main__ import app
from ml.config.command_help import values_in_force
from ml.config.forms import form_fields
from ml.config.training import TrainingConfig


@pytest.fixture
def help_of(monkeypatch, tmp_path):
    """Return a command's help as one line of words, under a deployment file with this content."""

    def help_(command, deployment=None):
        monkeypatch.delenv("OPEN_IMAGES_CONFIG", raising=False)
        if deployment is not None:
            (tmp_path / "deployment.yaml").write_text(deployment)
            monkeypatch.setenv("OPEN_IMAGES_CONFIG", str(tmp_path / "deployment.yaml"))
        done = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "400", "TERM": "dumb"})
        assert done.exit_code == 0, done.output
        return " ".join(done.output.replace("│", " ").split())

    return help_


def test_defaults_are_those_of_the_deployments_file(help_of, tmp_path):
    deployment = "release: /data/[mine]\nepochs: 4\nstorage: /data/root\nprediction: {min_confidence: 0.9}\n"
    shown = help_of("open-run", deployment)
    for text in ("[default: /data/[mine]]", "[default: 4]", "Storage root. [default: /data/root]"):
        assert text in shown
    assert f"Defaults are those of {tmp_path}/deployment.yaml." in shown
    assert "[default: 0.9]" in help_of("predict", deployment)
    assert "[default: 30]" not in shown
    shown = help_of("open-run")
    assert "[default: 30]" in shown
    assert "OPEN_IMAGES_CONFIG names no deployment file" in shown


def test_a_wrong_deployment_file_is_named_and_spoils_no_help(help_of):
    shown = help_of("open-run", "epochs: many")
    assert "the deployment file has a fault" in shown
    assert "epochs = 'many'" in shown
    assert "[default: 30]" in shown


@pytest.mark.parametrize(
    ("option", "takes"),
    [
        ("--epochs", "<integer, 1 to 1000>"),
        ("--containment", "<number, 0.5 to 1.0>"),
        ("--learning-rate", "<number, more than 0.0 to 1.0>"),
        ("--images-per-label", "<integer, 1 or more>"),
        ("--split", "official|digest"),
        ("--network", "compact|notebook|..."),
        ("--as-of", "<YYYY-MM-DD>"),
        ("--labels", "<JSON object>"),
        ("--release", "<path or URI>"),
        ("--baseline", "<name, path or URI>"),
    ],
)
def test_an_option_says_what_it_takes(help_of, option, takes):
    assert f"{option} {takes} " in help_of("open-run")


def test_every_bounded_number_shows_its_bounds(help_of):
    shown = help_of("run")
    for name, field in form_fields(TrainingConfig()).items():
        if "maximum" in field:
            assert f"--{name.replace('_', '-')} <" in shown
            assert f"to {field['maximum']}>" in shown


def test_a_command_without_parameters_of_a_flow_shows_the_storage_root(help_of):
    assert "Storage root. [default: /data/root]" in help_of("models", "storage: /data/root")


def test_values_that_are_empty_are_not_shown():
    values, _ = values_in_force(TrainingConfig)
    assert values["baseline"] is None
    assert "[default: null]" not in CliRunner().invoke(app, ["run", "--help"], env={"COLUMNS": "400"}).output


def test_a_command_without_any_such_value_does_not_say_where_values_are_from(help_of):
    assert "deployment file" not in help_of("doctor")
