"""The original report's errors in measuring and in choosing, each planted here and caught by a check of the product."""

import dataclasses
import itertools

import keras
import numpy as np
import pytest
from pydantic import ValidationError

from ml import storage
from ml.errors import MetricsError, ProvenanceError, SplitLeakError
from ml.features.reader import FeatureReader
from ml.metrics import classification
from ml.metrics.bootstrap import ImageBootstrap
from ml.networks.table import NETWORKS
from ml.stages import predictions
from ml.stages import train as train_stage
from ml.stages.evaluate import evaluate
from ml.training.checkpoints import Checkpoints
from support.answers import assert_confusion_as_counted, assert_only_test_faces
from support.features import make_context, make_features, make_run
from support.models import make_model


@pytest.fixture
def context(tmp_path):
    """Of stage evaluate, with a model that is wrong about some faces of one label."""
    features = make_features(tmp_path, {"train": (30, 30), "validation": (9, 9), "test": (20, 30)})
    run = make_run(tmp_path, features)
    trained = make_model(tmp_path, bias=2.0, sharpness=9.0)
    run.pin(trained)
    inputs = {"featurize": features, "train": trained}
    return dataclasses.replace(make_context(run), inputs=inputs, uri=storage.join(storage.normalise(tmp_path), "out"))


def test_trap_7_false_positives_and_false_negatives_swapped(monkeypatch):
    """The confusion matrix of answers counted by hand is another one."""
    matrix = classification.confusion_matrix
    monkeypatch.setattr(classification, "confusion_matrix", lambda *a, **k: matrix(*a, **k).T)
    with pytest.raises(AssertionError):
        assert_confusion_as_counted()


@pytest.mark.parametrize("read", ["train", "validation"])
def test_trap_8_the_accuracy_of_other_faces_than_the_test_faces(read, context, monkeypatch):
    """The predictions of an evaluation name other faces than those of the test split."""
    monkeypatch.setattr(
        predictions, "FeatureReader", lambda features, split, columns: FeatureReader(features, read, columns)
    )
    evaluate(context)
    with pytest.raises(AssertionError):
        assert_only_test_faces(context)


def tiny(chip_size, labels_count):
    layers = keras.layers
    stack = [keras.Input((chip_size, chip_size, 3), dtype="uint8"), layers.Rescaling(1 / 255)]
    return keras.Sequential([*stack, layers.GlobalAveragePooling2D(), layers.Dense(labels_count, activation="softmax")])


@pytest.fixture
def training(tmp_path, monkeypatch):
    """Of stage train, with a network that costs nothing."""
    monkeypatch.setitem(NETWORKS, "compact", tiny)
    return make_context(make_run(tmp_path, make_features(tmp_path), epochs=3, learning_rate=0.1, averaging=0.0))


def test_trap_8_the_test_split_used_to_watch_the_epochs(training, monkeypatch):
    """Training names the sides of the split that it reads."""

    def reader(features, split, **others):
        return FeatureReader(features, "test" if split == "validation" else split, **others)

    monkeypatch.setattr(train_stage, "FeatureReader", reader)
    with pytest.raises(SplitLeakError, match="validation the test split"):
        train_stage.train(training)


def test_trap_8_the_last_epoch_kept(training, monkeypatch):
    """The weights that are kept must reach the validation loss that the best epoch had."""
    losses = itertools.chain([0.1], itertools.repeat(0.9))
    evaluate_network = keras.Model.evaluate

    def measured(self, *arguments, **options):
        # The first epoch is measured as the best one; what is kept is then measured as it is.
        found = evaluate_network(self, *arguments, **options)
        return {**found, "loss": next(losses)}

    monkeypatch.setattr(keras.Model, "evaluate", measured)
    monkeypatch.setattr(Checkpoints, "load_best", lambda self, history, network: None)
    with pytest.raises(ProvenanceError, match="epoch 1 had"):
        train_stage.train(training)


def test_trap_9_two_sigmoids(tmp_path, monkeypatch):
    """A network whose confidences do not sum to 1 is refused before it is written."""

    def sigmoids(chip_size, labels_count):
        network = tiny(chip_size, labels_count)
        network.layers[-1].activation = keras.activations.sigmoid
        return network

    monkeypatch.setitem(NETWORKS, "compact", sigmoids)
    with pytest.raises(MetricsError, match="do not sum to 1"):
        train_stage.train(make_context(make_run(tmp_path, make_features(tmp_path), epochs=1)))


def without_interval(metrics):
    metrics["accuracy"] = {**metrics["accuracy"].model_dump(), "low": None, "high": None}


def without_baseline(metrics):
    del metrics["majority"]


def without_conclusion(metrics):
    del metrics["beats_majority"]


@pytest.mark.parametrize(
    ("lose", "missing"),
    [
        (without_interval, ["accuracy.low", "accuracy.high"]),
        (without_baseline, ["majority"]),
        (without_conclusion, ["beats_majority"]),
    ],
)
def test_trap_15_no_baseline_and_no_interval(lose, missing, context, monkeypatch):
    """The record of metrics that lack either is refused before the report or anything else is written."""

    def measure_less(*arguments, **options):
        metrics = dict(classification.classification_metrics(*arguments, **options))
        lose(metrics)
        return classification.Classification.model_construct(**metrics)

    monkeypatch.setattr("ml.stages.evaluate.classification_metrics", measure_less)
    with pytest.raises(ValidationError) as refused:
        evaluate(context)
    assert [".".join(error["loc"]) for error in refused.value.errors()] == missing
    assert not storage.list_files(context.uri)


def test_trap_15_the_reports_own_result_is_not_told_from_guessing():
    """343 of 602 chips right where the larger label has 319: the interval by image says what the report did not."""
    random = np.random.default_rng(0)
    image = np.arange(602) // 10  # about ten chips an image
    truth = random.permutation(np.repeat([0, 1], [283, 319]))
    # On an easy image most faces are right, on a hard one few are.
    ease = random.normal(0, 0.3, 61)[image] + random.normal(0, 1, 602)
    right = np.argsort(np.argsort(-ease)) < 343
    second = np.where((truth == 1) == right, 0.6, 0.4)
    bootstrap = ImageBootstrap(image)
    found = classification.classification_metrics(
        ["female", "male"], truth, np.stack([1 - second, second], 1), 0.5, bootstrap
    )
    assert round(found.accuracy.value, 4) == 0.5698
    assert round(found.majority.value, 4) == 0.5299
    assert not found.beats_majority
