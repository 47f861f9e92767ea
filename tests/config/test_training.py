"""The configuration rejects invalid values with helpful messages, and the form and command line derive from it."""

import json

import pytest
from typer.testing import CliRunner

from ml.__main__ import app
from ml.config.deployment import load_deployment
from ml.config.forms import form_fields
from ml.config.parameter import validate
from ml.config.prediction import PredictionConfig
from ml.config.promotion import PromotionConfig
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError


def test_every_field_has_section_title_description_and_a_default_that_is_valid():
    defaults = TrainingConfig()
    for name, schema in TrainingConfig.model_json_schema()["properties"].items():
        assert all(schema[key] for key in ("section", "title", "description")), name
    assert TrainingConfig(**defaults.model_dump(mode="json")) == defaults


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"images_per_label": 0}, ["images_per_label", "0", "at least 1 or empty"]),
        ({"margin": 1.5}, ["margin", "1.5", "at least 0.0 and at most 1.0"]),
        ({"learning_rate": 0}, ["learning_rate", "0", "more than 0.0"]),
        ({"network": "resnet"}, ["network", "resnet", "compact", "notebook"]),
        ({"epochs": "many"}, ["epochs", "many", "at least 1"]),
        ({"labels": {"female": ["Woman"]}}, ["labels", "exactly two"]),
        ({"labels": {"a": ["Woman"], "b": ["Woman"]}}, ["labels", "twice", "Woman"]),
        ({"labels": "{not json"}, ["labels", "JSON"]),
        ({"chip_class": "Man"}, ["chip_class", "Man"]),
        ({"validation_share": 0.45, "test_share": 0.45}, ["validation_share", "test_share"]),
        ({"epoch": 3}, ["epoch", "no such parameter", "epochs"]),
    ],
)
def test_a_wrong_value_is_refused_with_name_value_and_what_is_allowed(values, expected):
    with pytest.raises(ConfigurationError) as refused:
        validate(values, TrainingConfig())
    for part in expected:
        assert part in str(refused.value)


def test_the_label_order_is_alphabetical_whatever_the_order_given():
    config = TrainingConfig(labels={"male": ["Man"], "female": ["Woman"]})
    assert config.label_order == ("female", "male")
    assert config.label_classes == {"Woman": "female", "Man": "male"}


def test_the_deployments_file_gives_the_defaults_and_is_checked(tmp_path, monkeypatch):
    file = tmp_path / "deployment.yaml"
    file.write_text("storage: /elsewhere\nepochs: 7\nspark_conf:\n  spark.ui.enabled: false\n")
    monkeypatch.setenv("OPEN_IMAGES_CONFIG", str(file))
    deployment = load_deployment()
    assert deployment.storage == "/elsewhere"
    assert deployment.spark_conf == {"spark.ui.enabled": "false"}
    assert validate({"seed": 1}, deployment.defaults).epochs == 7
    assert form_fields(deployment.defaults)["epochs"]["default"] == 7

    file.write_text("spark_conf: [a]")
    with pytest.raises(ConfigurationError, match="spark_conf"):
        load_deployment()
    file.write_text("epochs: 0\n")
    with pytest.raises(ConfigurationError, match=r"deployment\.yaml.*epochs = 0"):
        load_deployment()
    file.unlink()
    with pytest.raises(ConfigurationError, match="OPEN_IMAGES_CONFIG"):
        load_deployment()


def test_the_form_is_flat_and_has_each_fields_bounds():
    fields = form_fields(TrainingConfig())
    assert set(fields) == set(TrainingConfig.model_fields)
    assert not any("anyOf" in field or "$ref" in field for field in fields.values())
    assert fields["images_per_label"]["type"] == ["integer", "null"]
    assert fields["images_per_label"]["minimum"] == 1
    assert fields["network"]["enum"][:3] == ["compact", "notebook", "transfer:ConvNeXtTiny"]
    assert None in fields["force"]["enum"]
    assert {field["section"] for field in fields.values()} >= {"Release", "Classes", "Chips", "Training"}


@pytest.mark.parametrize("kind", [TrainingConfig, PredictionConfig, PromotionConfig])
def test_the_form_states_bounds_and_names_an_empty_choice(kind):
    for name, field in form_fields(kind()).items():
        low = field.get("minimum", field.get("exclusiveMinimum"))
        assert (low is not None) == ("Allowed:" in field["description"]), name
        if low is not None:
            assert str(low) in field["description"].partition("Allowed:")[2], name
        empty = None in field.get("enum", ())
        assert (field.get("values_display", {}).get("null") == "(none)") == empty, name
    assert form_fields(TrainingConfig())["epochs"]["description"].endswith(" Allowed: 1 to 1000.")


@pytest.mark.parametrize("kind", [TrainingConfig, PredictionConfig, PromotionConfig])
def test_the_form_gives_examples_of_what_is_typed_freely(kind):
    texts = {
        name: field.get("examples")
        for name, field in form_fields(kind()).items()
        if "string" in field["type"] and not {"enum", "format"} & field.keys()
    }
    assert texts
    assert all(texts.values()), texts


def test_a_command_line_option_reaches_the_run(tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        "ml.workflow.opening.open_run",
        lambda root, run_id, values, **_: seen.update(values) or type("R", (), {"uri": ""}),
    )
    labels = json.dumps({"b": ["Boy"], "g": ["Girl"]})
    arguments = ["open-run", "--storage", str(tmp_path), "--epochs", "3", "--no-augment", "--labels", labels]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert seen == {"epochs": "3", "augment": False, "labels": labels}
    assert validate(seen, TrainingConfig()).label_order == ("b", "g")
