"""Stage compare: two models with known answers on the same small features."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from ml import storage
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError, LabelOrderError, PreprocessingError
from ml.metrics.comparison import RightTable, measure
from ml.metrics.predictions import TestPredictions
from ml.stages.compare import compare
from support.features import make_context, make_features, make_run
from support.models import make_model

FACES = {"train": (4, 4), "validation": (3, 3), "test": (40, 40)}


@pytest.fixture
def compared(tmp_path):
    """Compare a model that is always right with another one, on features whose manifest may be changed."""

    def run(baseline=None, change=None, values=None, **other):
        features = make_features(tmp_path, FACES)
        features = features.model_copy(update={"metrics": {**features.metrics, **(change or {})}})
        attempt = make_model(tmp_path, name="other", **other)
        run = make_run(tmp_path, features, baseline=attempt.uri if baseline is None else baseline, **(values or {}))
        context = make_context(run, stage="compare")
        inputs = {"featurize": features, "train": make_model(tmp_path)}
        context = dataclasses.replace(context, inputs=inputs, uri=storage.join(storage.normalize(tmp_path), "out"))
        return compare(context), context

    return run


def answered(right, images=None):
    """Return predictions of which the given ones are right, on faces of label 0 and 1 by turns."""
    right = np.asarray(right, bool)
    truth = np.arange(len(right)) % 2
    second = np.where(truth == right, 0.9, 0.1)
    images = np.arange(len(right)).astype(str) if images is None else images
    return TestPredictions(("female", "male"), 0.5, truth, np.stack([1 - second, second], axis=1), {"image_id": images})


def test_a_model_that_is_right_beats_one_that_is_always_wrong(compared):
    result, context = compared(sharpness=-40.0)
    assert result.metrics["accuracy_difference"]["value"] == 1
    assert result.metrics["accuracy_difference"]["low"] > 0.8
    assert result.metrics["log_loss_difference"]["high"] < 0
    assert result.metrics["table"] == {"both": 0, "only_model": 80, "only_baseline": 0, "neither": 0}
    assert result.metrics["mcnemar"]["p_value"] < 1e-9
    assert result.metrics["models"]["baseline"]["attempt"].endswith("other")
    page = storage.read_bytes(result.metrics["report"]).decode()
    assert "<strong>better</strong>" in page
    assert "perceived gender presentation" in page.lower()
    assert json.loads(storage.read_bytes(context.path("compare.json")))["slices"]
    assert storage.read_bytes(result.metrics["plots"]["differences"])[:400].count(b"<svg") == 1


def test_the_manifest_has_the_keys_and_order_that_it_had(compared):
    result, _ = compared()
    golden = json.loads((Path(__file__).parents[1] / "metrics/golden/manifest_keys.json").read_text())["compare"]
    assert list(result.metrics) == list(golden)
    for name in ("models", "accuracy", "accuracy_difference", "table", "mcnemar", "plots"):
        assert list(result.metrics[name]) == list(golden[name])


def test_the_same_model_twice_is_not_distinguishable(compared):
    result, _ = compared()
    difference = result.metrics["accuracy_difference"]
    assert difference["low"] < difference["value"] == 0 < difference["high"]
    assert result.metrics["mcnemar"] == {"p_value": 1.0, "discordant": 0}
    assert "not distinguishable" in storage.read_bytes(result.metrics["report"]).decode()


def test_each_model_answers_by_its_own_threshold(compared):
    result, _ = compared(threshold=0.95, sharpness=1.0)
    assert result.metrics["models"]["baseline"]["threshold"] == 0.95
    assert result.metrics["accuracy"]["baseline"]["value"] == 0.5, "at 0.95 all faces are called female"


def test_a_baseline_of_another_chip_size_is_refused(compared):
    with pytest.raises(PreprocessingError, match="64"):
        compared(size=64)


def test_a_baseline_of_other_labels_is_refused(compared):
    with pytest.raises(LabelOrderError, match="model"):
        compared(change={"labels": ["cat", "dog"]}, values={"labels": {"cat": ["Cat"], "dog": ["Dog"]}})


def test_features_that_number_the_labels_otherwise_are_refused(compared):
    with pytest.raises(LabelOrderError, match="features"):
        compared(change={"labels": ["male", "female"]})


def test_without_a_baseline_there_is_nothing_to_compare(compared):
    _, context = compared()
    context = dataclasses.replace(context, config=TrainingConfig(baseline=None))
    with pytest.raises(ConfigurationError, match="No baseline is set"):
        compare(context)


def test_a_baseline_that_was_never_committed_is_refused(compared, tmp_path):
    with pytest.raises(ConfigurationError, match=r"baseline: .*/nowhere is no run and no finished attempt"):
        compared(baseline=str(tmp_path / "nowhere"))


def test_a_baseline_of_another_stage_is_refused(compared, tmp_path):
    with pytest.raises(ConfigurationError, match="stage featurize"):
        compared(baseline=make_features(tmp_path, FACES).uri)


def test_the_table_and_mcnemars_test_count_faces():
    model = answered([True] * 50 + [True] * 12 + [False] * 5 + [False] * 13)
    baseline = answered([True] * 50 + [False] * 12 + [True] * 5 + [False] * 13)
    found = measure(model, baseline)
    assert found.table == RightTable(both=50, only_model=12, only_baseline=5, neither=13)
    assert (found.mcnemar.p_value, found.mcnemar.discordant) == (pytest.approx(binomtest(12, 17).pvalue), 17)
    assert found.accuracy_difference.value == pytest.approx(7 / 80)
    assert found.accuracy.model.value == pytest.approx(62 / 80)


def test_the_difference_of_paired_faces_is_narrower_than_that_of_two_samples():
    random = np.random.default_rng(1)
    easy = random.random(400) < 0.7  # the faces that both get right
    model, baseline = answered(easy | (random.random(400) < 0.15)), answered(easy | (random.random(400) < 0.1))
    found = measure(model, baseline)
    difference, accuracies = found.accuracy_difference, found.accuracy
    width = difference.high - difference.low
    alone = [each.high - each.low for each in (accuracies.model, accuracies.baseline)]
    assert width < 0.7 * np.hypot(*alone)


def test_faces_of_one_image_count_as_one_for_the_difference():
    gained = np.random.default_rng(0).random(60) < 0.4
    baseline = np.zeros(60, bool)
    alone = measure(answered(gained), answered(baseline)).accuracy_difference
    images = np.repeat(np.arange(60), 4).astype(str)
    together = measure(answered(np.repeat(gained, 4), images), answered(np.repeat(baseline, 4), images))
    assert together.accuracy_difference.low == pytest.approx(alone.low)
    assert together.accuracy_difference.high == pytest.approx(alone.high)
