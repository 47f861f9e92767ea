"""The original report's errors in measuring and in choosing, each planted here and caught by a check of the product."""

import dataclasses

import keras
import numpy as np
import pytest
from pydantic import ValidationError

from ml import storage
from ml.errors import MetricsError, ProvenanceError
from ml.features.reader import FeatureReader
from ml.metrics import classification
from ml.metrics.bootstrap import ImageBootstrap
from ml.networks.table import NETWORKS, Network
from ml.stages import predictions
from ml.stages import train as train_stage
from ml.stages.evaluate import evaluate
from ml.training.checkpoints import Checkpoints
from ml.training.fit import Fit
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
    made = make_context(run, stage="evaluate")
    return dataclasses.replace(made, inputs=inputs, uri=storage.join(storage.normalize(tmp_path), "out"))


def test_trap_7_false_positives_and_false_negatives_swapped(monkeypatch):
    """The confusion matrix of answers counted by hand is another one."""
    count = classification._count
    monkeypatch.setattr(classification, "_count", lambda *given: count(*given).T)
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
    monkeypatch.setitem(NETWORKS, "compact", Network(tiny, any_size=True))
    return make_context(make_run(tmp_path, make_features(tmp_path), epochs=3, learning_rate=0.1, averaging=0.0))


class Stopped(BaseException):
    """Ends a training where a test has seen enough of it."""


@pytest.fixture
def watched_by(training):
    """Return the split that the network learns from, and the split that its epochs are watched by."""

    def run():
        found = []

        def look(self):
            found.extend((self.training.reader.split, self.validation.reader.split))
            raise Stopped

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Fit, "run", look)
            with pytest.raises(Stopped):
                train_stage.train(training)
        return tuple(found)

    return run


def test_trap_8_the_test_split_used_to_watch_the_epochs(watched_by, monkeypatch):
    """No check in the product: this test is what would fail."""

    def reader(features, split, **others):
        return FeatureReader(features, "test" if split == "validation" else split, **others)

    assert watched_by() == ("train", "validation")
    monkeypatch.setattr(train_stage, "FeatureReader", reader)
    assert watched_by() == ("train", "test")


def weights_of(network):
    return np.concatenate([np.ravel(weight) for weight in network.get_weights()])


@pytest.fixture
def epoch_kept(training, monkeypatch):
    """Train three epochs of which the first validates best; return the epoch, from 1, whose weights are kept."""

    def run():
        losses = iter([0.1, 0.9, 0.9])
        measure_network, write = keras.Model.evaluate, train_stage._write
        epochs, kept = [], []

        def measured(self, *arguments, **options):
            epochs.append(weights_of(self))
            return {**measure_network(self, *arguments, **options), "loss": next(losses)}

        def written(context, network, *others):
            kept.append(weights_of(network))
            return write(context, network, *others)

        monkeypatch.setattr(keras.Model, "evaluate", measured)
        monkeypatch.setattr(train_stage, "_write", written)
        train_stage.train(training)
        (found,) = (number for number, weights in enumerate(epochs, 1) if np.array_equal(weights, kept[0]))
        return found

    return run


def test_trap_8_the_best_epoch_is_kept(epoch_kept):
    """No check in the product: this test is what would fail."""
    assert epoch_kept() == 1


def test_trap_8_the_last_epoch_kept(epoch_kept, monkeypatch):
    """The trap, planted: the test before would fail."""
    monkeypatch.setattr(Checkpoints, "load_best", lambda self, history, network: None)
    assert epoch_kept() == 3


def test_trap_8_a_best_epoch_that_was_written_over(training, monkeypatch):
    """The file of the best epoch's weights must be the one that was written."""
    save = Checkpoints.save

    def overwriting(self, position, network, average):
        save(self, position, network, average)
        best = next(name for name in storage.list_files(self._uri) if name.startswith("best-"))
        storage.write_bytes(storage.join(self._uri, best), b"another epoch's")

    monkeypatch.setattr(Checkpoints, "save", overwriting)
    with pytest.raises(ProvenanceError, match="has changed since the training wrote it"):
        train_stage.train(training)


def test_trap_9_two_sigmoids(tmp_path, monkeypatch):
    """A network whose confidences do not sum to 1 is refused before it is written."""

    def sigmoids(chip_size, labels_count):
        network = tiny(chip_size, labels_count)
        network.layers[-1].activation = keras.activations.sigmoid
        return network

    monkeypatch.setitem(NETWORKS, "compact", Network(sigmoids, any_size=True))
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


def test_trap_15_the_reports_own_result_is_not_distinguishable_from_guessing():
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
