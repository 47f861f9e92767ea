"""Tests of `ml.stages.train` and of `ml.model.classifier`, by which its result is loaded."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from ml import storage
from ml.errors import ConfigurationError, DataError, LabelOrderError, PreprocessingError, ResourceError
from ml.features import feed as feed_module
from ml.features import reader as reader_module
from ml.features.reader import FeatureReader
from ml.flow.table import STAGES
from ml.model import classifier as classifier_module
from ml.model.classifier import Classifier
from ml.model.keras_file import network_bytes
from ml.model.novelty import look, read_novelty
from ml.model.record import EpochRow, TrainingProgress, TrainingRecord
from ml.networks.table import NETWORKS, Network
from ml.networks.transfer import BACKBONE
from ml.stages import train as train_stage
from ml.training import calibrate, callbacks
from ml.training import fit as fit_module
from ml.training.checkpoints import Checkpoints, Position, best_epoch
from ml.vision import images
from ml.workflow import layout
from ml.workflow.execution import Context, run_stage
from ml.workflow.manifest import Manifest
from support.features import make_context, make_features, make_run
from support.networks import tiny
from support.training import make_epoch


@pytest.fixture
def tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "compact", Network(tiny, any_size=True))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """A small network, trained on a toy set by the whole stage."""
    root = tmp_path_factory.mktemp("storage")
    run = make_run(root, make_features(root), epochs=12, learning_rate=0.05)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "compact", Network(tiny, any_size=True))
        manifest = run_stage(run, STAGES["train"], train_stage.train)
    assert not storage.list_files(make_context(run).checkpoints)
    return manifest


def altered(manifest: Manifest, folder: Path, path: str, other: bytes) -> Manifest:
    """A copy of a model's attempt in which one file is another."""
    for file in manifest.files:
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.path).write_bytes(storage.read_bytes(manifest.file(file.path)))
    (folder / path).write_bytes(other)
    return manifest.model_copy(update={"uri": storage.normalize(folder)})


def wired(root: Path, size: int = 32, **values: Any) -> fit_module.Fit:
    """The training as the stage has it before its first step."""
    made: list[fit_module.Fit] = []

    def run(self: fit_module.Fit) -> None:
        made.append(self)
        raise Killed

    context = make_context(make_run(root, make_features(root, size=size), **values))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_module.Fit, "run", run)
        with pytest.raises(Killed):
            train_stage.train(context)
    return made[0]


def finished(root: Path, size: int = 32, **values: Any) -> tuple[keras.Model, list[EpochRow]]:
    """The network that the stage would write, not calibrated yet, and the history."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_stage, "_write", lambda context, network, history, *_: (network, history))
        found: Any = train_stage.train(make_context(make_run(root, make_features(root, size=size), **values)))
    network, rows = found
    return network, rows


def copied(network: keras.Model) -> list[NDArray[Any]]:
    """The weights as they are now."""
    return [np.array(weight) for weight in network.get_weights()]


def history(context: Context) -> list[dict[str, Any]]:
    """The history without what no two runs share."""
    rows: list[dict[str, Any]] = storage.read_json(context.path("history.json"))
    return [{name: row[name] for name in row if name not in ("seconds", "images_per_second")} for row in rows]


def test_a_learnable_toy_set_is_learned(trained: Manifest) -> None:
    reader = FeatureReader(storage_features(trained), "test")
    classifier = Classifier.load(trained.uri, ["female", "male"])
    batch = next(reader.batches(64))
    probabilities = classifier.predict(batch.pixels)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert (probabilities.argmax(axis=1) == batch.labels).mean() >= 0.9


def storage_features(trained: Manifest) -> Manifest:
    return Manifest.model_validate_json(storage.read_bytes(storage.join(trained.inputs["featurize"], "manifest.json")))


def test_metrics_say_what_was_done(trained: Manifest) -> None:
    metrics = trained.metrics
    rows = storage.read_json(metrics["history"])
    assert [row["epoch"] for row in rows] == list(range(1, 13))
    best = min(rows, key=lambda row: row["val_loss"])
    assert metrics["best_epoch"] == best["epoch"]
    assert metrics["validation"]["loss"] <= best["val_loss"] + 1e-6, "calibration made it no worse"
    assert metrics["validation"]["accuracy"] >= best["val_accuracy"] - 1e-6, "nor did the threshold"
    assert (metrics["validation"]["faces"], metrics["validation"]["majority"]) == (24, 0.5)
    assert metrics["images_per_second"] > 0
    assert {file.path for file in trained.files} == {
        *("model.keras", "model.json", "reference.json", "history.json", "curves.svg", "model.onnx", "novelty.npz"),
        *(f"saved_model/1/{name}" for name in ("saved_model.pb", "fingerprint.pb")),
        *(f"saved_model/1/variables/variables.{name}" for name in ("index", "data-00000-of-00001")),
        *(f"tensorboard/{run}/events.out.tfevents" for run in ("train", "validation")),
    }
    description = storage.read_json(trained.file("model.json"))
    assert description["meaning"] == "gender presentation as perceived by annotators; never identity"
    assert description["box_aspect"] == 1.25, "the median of the training faces"
    assert description["labels"] == metrics["labels"] == ["female", "male"]
    assert {name: description[name] for name in ("temperature", "threshold")} == {
        name: metrics[name] for name in ("temperature", "threshold")
    }


def test_about_one_in_a_hundred_test_faces_is_unusual_and_noise_is(trained: Manifest) -> None:
    novelty = read_novelty(trained)
    assert novelty is not None
    batch = next(FeatureReader(storage_features(trained), "test", ("face_px",)).batches(64))
    noise = np.random.default_rng(0).integers(0, 256, batch.pixels.shape, np.uint8)
    classifier = Classifier.load(trained.uri)
    usual, odd = (
        novelty.reasons(look(chips, batch.columns["face_px"], 0.2), classifier.predict_with_features(chips)[1])
        for chips in (batch.pixels, noise)
    )
    assert sum("features" in each for each in usual) <= 2
    assert not any("size" in each for each in usual)
    assert all("sharpness" in each for each in odd)


def test_the_record_is_written_as_the_manifest_has_always_held_it(trained: Manifest) -> None:
    record = trained.record(TrainingRecord)
    assert json.dumps(record.json_values()) == json.dumps(trained.metrics)
    assert list(trained.metrics) == [
        *("labels", "network", "parameters", "best_epoch", "epochs", "validation", "temperature", "threshold"),
        *("images_per_second", "seconds", "history", "curves", "model", "mlflow", "exclusion"),
        *("temperature_choice", "threshold_choice"),
    ]
    assert list(trained.metrics["validation"]) == ["loss", "accuracy", "faces", "majority"]
    assert list(trained.metrics["mlflow"]) == ["run_id", "experiment_id", "model_id", "tracking_uri", "unrecorded"]
    columns = ["accuracy", "epoch", "images_per_second", "loss", "seconds", "val_accuracy", "val_loss"]
    assert [list(row) for row in storage.read_json(record.history)] == [columns] * 12, "files have sorted keys"
    # model.json has the same count with a decimal point, as always.
    assert b'"faces": 24.0' in storage.read_bytes(trained.file("model.json"))
    assert b'"faces": 24,' in json.dumps(trained.metrics).encode()


def test_the_kept_weights_are_those_of_the_best_epoch(trained: Manifest) -> None:
    batch = next(FeatureReader(storage_features(trained), "validation").batches(64))
    probabilities = Classifier.load(trained).predict(batch.pixels)
    loss = -np.log(probabilities[np.arange(len(batch)), batch.labels]).mean()
    assert loss == pytest.approx(trained.metrics["validation"]["loss"], rel=1e-3, abs=1e-6)


def test_predict_takes_any_number_of_raw_chips(trained: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = Classifier.load(trained)
    pixels = next(FeatureReader(storage_features(trained), "train").batches(80)).pixels
    monkeypatch.setattr(classifier_module, "BATCH_SIZE", 7)
    by_sevens = classifier.predict(pixels)
    monkeypatch.setattr(classifier_module, "BATCH_SIZE", 80)
    np.testing.assert_allclose(classifier.predict(pixels), by_sevens, atol=1e-5)
    assert classifier.predict(pixels[:0]).shape == (0, 2)
    with pytest.raises(PreprocessingError, match="raw uint8"):
        classifier.predict(pixels / 255)
    with pytest.raises(PreprocessingError, match="already scaled"):
        classifier.predict((pixels / 255).astype(np.uint8))


def test_a_model_that_numbers_the_labels_otherwise_is_refused(trained: Manifest, tmp_path: Path) -> None:
    with pytest.raises(LabelOrderError, match="male"):
        Classifier.load(trained, ["male", "female"])
    description = storage.read_json(trained.file("model.json"))
    swapped = json.dumps({**description, "labels": ["male", "female"]}).encode()
    with pytest.raises(LabelOrderError, match=r"model\.json"):
        Classifier.load(altered(trained, tmp_path, "model.json", swapped))


def test_chips_decoded_to_bgr_are_found(trained: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = images.decode
    monkeypatch.setattr(images, "decode", lambda data: decode(data)[..., ::-1])
    with pytest.raises(PreprocessingError, match="reference chips"):
        Classifier.load(trained)


def test_scaling_applied_twice_is_found(trained: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = images.decode
    monkeypatch.setattr(images, "decode", lambda data: decode(data) // 255)
    with pytest.raises(PreprocessingError, match="already scaled"):
        Classifier.load(trained)


def test_another_models_file_is_found(trained: Manifest, tmp_path: Path) -> None:
    others = {
        "model": tiny(32, 2),
        "size": tiny(48, 2),
        "labels": tiny(32, 3),
    }
    for name, error in (("model", PreprocessingError), ("size", PreprocessingError), ("labels", LabelOrderError)):
        with pytest.raises(error):
            Classifier.load(altered(trained, tmp_path, "model.keras", network_bytes(others[name])))


def test_a_damaged_models_file_is_refused(trained: Manifest, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be loaded"):
        Classifier.load(altered(trained, tmp_path, "model.keras", b"PK none"))


def test_a_model_is_loaded_from_an_object_store(trained: Manifest) -> None:
    uri = "memory://models/attempt"
    for file in trained.files:
        storage.write_bytes(storage.join(uri, file.path), storage.read_bytes(trained.file(file.path)))
    remote = trained.model_copy(update={"uri": uri})
    storage.write_bytes(storage.join(uri, "manifest.json"), remote.model_dump_json().encode())
    assert Classifier.load(uri).labels == ["female", "male"]


class Killed(BaseException):
    """Stands for kill -9: no code of the product can catch it."""


def kill_after(patch: pytest.MonkeyPatch, epoch: int, step: int) -> None:
    """Have the training killed after a step of an epoch, both from 1; every step leaves a checkpoint."""
    save = callbacks.SaveCheckpoints.on_train_batch_end

    def killing(self: callbacks.SaveCheckpoints, batch: int, logs: callbacks.Logs = None) -> None:
        save(self, batch, logs)
        if (len(self.progress.before.history) + 1, self.progress.step) == (epoch, step):
            raise Killed

    patch.setattr(callbacks.SaveCheckpoints, "on_train_batch_end", killing)


def reference(context: Context) -> NDArray[np.float64]:
    """The probabilities of the model's reference chips."""
    return np.array([chip["probabilities"] for chip in storage.read_json(context.path("reference.json"))["chips"]])


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_network")
def test_a_training_killed_at_any_step_resumes_and_ends_like_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    values = {"epochs": 4, "augment": True, "mixing": 0.5, "averaging": 0.9, "checkpoint_minutes": 1e-9}
    run = make_run(tmp_path, make_features(tmp_path), **values)
    whole = make_context(run, "whole")
    expected = train_stage.train(whole)
    storage.remove(whole.checkpoints)

    resumed = make_context(run, "resumed")
    # In the middle of the first epoch, at the first step of one, and at the last, before validation.
    for epoch, step in ((1, 3), (2, 1), (3, 5)):
        with monkeypatch.context() as patch:
            kill_after(patch, epoch, step)
            with pytest.raises(Killed):
                train_stage.train(resumed)
    caplog.clear()
    caplog.set_level(logging.INFO)
    result = train_stage.train(resumed)
    told = [record.getMessage() for record in caplog.records]
    assert "resuming after epoch 2, step 4" in told
    assert result.metrics["epochs"] == 4
    for row, other in zip(history(resumed), history(whole), strict=True):
        assert row == pytest.approx(other, rel=1e-4)
    assert result.metrics["validation"] == pytest.approx(expected.metrics["validation"], rel=1e-4)
    np.testing.assert_allclose(reference(resumed), reference(whole), atol=1e-4)


@pytest.mark.usefixtures("tiny_network")
@pytest.mark.parametrize("damaged", ["state.json", "best-0001.npz"])
def test_damaged_checkpoints_are_not_used(damaged: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoints = Checkpoints(storage.normalize(tmp_path))
    assert checkpoints.resume() is None
    network = tiny(32, 2)
    network.compile("adam")
    rows = [make_epoch(1, val_loss=0.5)]
    checkpoints.save_best(rows, network)
    checkpoints.save(Position(history=rows), network, None)
    assert checkpoints.resume() is not None
    uri = storage.join(storage.normalize(tmp_path), damaged)
    storage.write_bytes(uri, storage.read_bytes(uri)[:-9])
    assert checkpoints.resume() is None
    assert "damaged" in caplog.text
    storage.remove(uri)
    assert checkpoints.resume() is None


def test_only_the_last_and_the_best_checkpoint_are_kept(tmp_path: Path) -> None:
    uri = storage.normalize(tmp_path)
    checkpoints = Checkpoints(uri)
    network = tiny(32, 2)
    network.compile("adam")
    rows: list[EpochRow] = []
    for epoch, loss in enumerate((0.9, 0.5, 0.7, 0.6), 1):
        rows.append(make_epoch(epoch, val_loss=loss))
        if best_epoch(rows) == epoch:
            checkpoints.save_best(rows, network)
        checkpoints.save(Position(history=rows), network, None)
    checkpoints.save(Position(history=rows, step=3), network, None)
    assert list(storage.list_files(uri)) == ["best-0002.npz", "state.json", "training-0004-000003.npz"]


@pytest.mark.usefixtures("tiny_network")
def test_without_room_for_checkpoints_no_training_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    context = make_context(make_run(tmp_path, make_features(tmp_path)))
    with pytest.raises(ResourceError, match=r"checkpoints of [\d,]+ parameters need about"):
        train_stage.train(context)
    assert not storage.list_files(context.checkpoints)


def test_a_disk_that_fills_up_is_named_and_not_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = storage.write_bytes

    def full(uri: str, data: bytes) -> None:
        if uri.endswith(".npz"):
            raise OSError(28, "No space left on device", uri)
        write(uri, data)

    monkeypatch.setitem(NETWORKS, "compact", Network(tiny, any_size=True))
    monkeypatch.setattr(storage, "write_bytes", full)
    run = make_run(tmp_path, make_features(tmp_path))
    with pytest.raises(ResourceError, match=r"No space left.*best-0001\.npz.*Free space"):
        run_stage(run, STAGES["train"], train_stage.train)


@pytest.mark.usefixtures("tiny_network")
def test_training_stops_when_patience_is_at_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([0.9, 0.5, 0.6, 0.7])
    monkeypatch.setattr(
        keras.Model, "evaluate", lambda self, *a, **k: {"loss": next(losses), "accuracy": 0.5}, raising=True
    )
    _, rows = finished(tmp_path, epochs=9, patience=2)
    assert (len(rows), best_epoch(rows)) == (4, 2)


def small_backbone(
    include_top: bool, weights: str | None = None, input_shape: tuple[int, int, int] | None = None, pooling: str = "avg"
) -> keras.Model:
    """In the place of a backbone of keras.applications, which takes half a minute to trace."""
    layers = keras.layers
    stack = [keras.Input(input_shape), layers.Conv2D(8, 3, strides=2), layers.BatchNormalization(), layers.ReLU()]
    return keras.Sequential([*stack, layers.Dropout(0.3), layers.GlobalAveragePooling2D()])


def test_dropout_inside_a_backbone_goes_on_as_it_would_have_when_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras.applications, "MobileNetV2", small_backbone)
    values = {"network": "transfer:MobileNetV2", "backbone_weights": "none", "epochs": 1, "checkpoint_minutes": 1e-9}
    _, whole = finished(tmp_path / "whole", **values)
    with monkeypatch.context() as patch:
        kill_after(patch, 1, 3)
        with pytest.raises(Killed):
            finished(tmp_path / "killed", **values)
    _, resumed = finished(tmp_path / "killed", **values)
    assert resumed[0].loss == pytest.approx(whole[0].loss, rel=1e-4)
    assert resumed[0].val_loss == pytest.approx(whole[0].val_loss, rel=1e-4)


@pytest.mark.slow
def test_a_pretrained_backbone_is_frozen_first_and_then_fine_tuned_also_when_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras.applications, "MobileNetV2", small_backbone)
    backbone = small_backbone(False, input_shape=(32, 32, 3))
    backbone.save_weights(tmp_path / "backbone.weights.h5")
    kernels: list[Any] = [backbone.layers[0].kernel.numpy()]
    fit_epoch = fit_module.Fit._fit_epoch

    def looked_at(self: fit_module.Fit) -> None:
        fit_epoch(self)
        kernels.append(self.network.get_layer(BACKBONE).layers[0].kernel.numpy())

    monkeypatch.setattr(fit_module.Fit, "_fit_epoch", looked_at)
    values = {"network": "transfer:MobileNetV2", "frozen_epochs": 2, "epochs": 4, "checkpoint_minutes": 1e-9}
    run = make_run(
        tmp_path,
        make_features(tmp_path),
        backbone_weights=str(tmp_path / "backbone.weights.h5"),
        averaging=0.0,
        **values,
    )
    for epoch, step in ((1, 3), (2, 5), (3, 1), (3, 2)):  # (3, 1) leaves the checkpoint of the last frozen step
        with monkeypatch.context() as patch:
            kill_after(patch, epoch, step)
            with pytest.raises(Killed):
                train_stage.train(make_context(run))
    train_stage.train(make_context(run))
    assert [np.array_equal(kernel, kernels[0]) for kernel in kernels] == [True, True, True, False, False]


@pytest.mark.usefixtures("tiny_network")
def test_the_labels_of_training_are_smoothed_and_those_of_validation_are_not(tmp_path: Path) -> None:
    fit = wired(tmp_path, label_smoothing=0.2)
    _, smoothed, _ = next(iter(fit.training.dataset(0)))
    _, plain, _ = next(iter(fit.validation.dataset()))
    np.testing.assert_allclose(np.unique(smoothed), [0.1, 0.9], rtol=1e-6)
    np.testing.assert_array_equal(np.unique(plain), [0, 1])


def rates(fit: fit_module.Fit, steps: list[int]) -> list[float]:
    """The learning rate after so many steps."""
    found = []
    for step in steps:
        fit.network.optimizer.iterations.assign(step)
        found.append(float(fit.network.optimizer.learning_rate))
    return found


@pytest.mark.usefixtures("tiny_network")
def test_the_learning_rate_warms_up_and_falls_along_half_a_cosine(tmp_path: Path) -> None:
    fit = wired(tmp_path, epochs=20, learning_rate=0.01)
    fit._compile(0)
    # Of a hundred steps five warm up.
    np.testing.assert_allclose(rates(fit, [0, 1, 5]), [0.001, 0.0028, 0.01], rtol=1e-4)
    cosine = (1 + np.cos(np.pi * np.array([0, 19, 38, 95]) / 95)) / 2
    np.testing.assert_allclose(rates(fit, [5, 24, 43, 100]), 0.01 * (0.01 + 0.99 * cosine), rtol=1e-4)


@pytest.mark.usefixtures("tiny_network")
def test_a_constant_learning_rate_stays(tmp_path: Path) -> None:
    fit = wired(tmp_path, epochs=2, learning_rate=0.01, schedule="constant")
    fit._compile(0)
    np.testing.assert_allclose(rates(fit, [0, 1, 5, 10]), 0.01, rtol=1e-6)


@pytest.mark.usefixtures("tiny_network")
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_kernels_decay_but_biases_and_batch_normalization_do_not(optimizer: str, tmp_path: Path) -> None:
    fit = wired(tmp_path, optimizer=optimizer, learning_rate=0.01, schedule="constant", weight_decay=0.5)
    fit._compile(0)
    variables = fit.network.trainable_variables
    assert {variable.name for variable in variables} == {"kernel", "bias", "gamma", "beta"}
    for variable in variables:
        variable.assign(np.ones(variable.shape))
    fit.network.optimizer.apply([tf.zeros(variable.shape) for variable in variables], variables)
    for variable in variables:
        expected = 1 - 0.01 * 0.5 if variable.name == "kernel" else 1.0
        np.testing.assert_allclose(np.asarray(variable), expected, rtol=1e-6, err_msg=variable.path)


@pytest.mark.parametrize(
    ("weights", "expected"), [("file", [(0.01, False)] * 2 + [(0.0002, True)] * 2), ("none", [(0.01, True)] * 4)]
)
def test_a_pretrained_network_is_fine_tuned_at_a_fiftieth_of_the_rate(
    weights: str, expected: list[tuple[float, bool]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras.applications, "MobileNetV2", small_backbone)
    small_backbone(False, input_shape=(32, 32, 3)).save_weights(tmp_path / "backbone.weights.h5")
    fit = wired(
        tmp_path,
        network="transfer:MobileNetV2",
        backbone_weights=str(tmp_path / "backbone.weights.h5") if weights == "file" else weights,
        frozen_epochs=2,
        epochs=4,
        learning_rate=0.01,
        schedule="constant",
    )
    for epoch, (rate, trainable) in enumerate(expected):
        fit._compile(epoch)
        assert float(fit.network.optimizer.learning_rate) == pytest.approx(rate)
        assert fit.network.get_layer(BACKBONE).trainable == trainable


@pytest.mark.usefixtures("tiny_network")
def test_the_averaged_weights_are_what_is_validated_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    validated, stepped, averaged = [], [], []
    evaluate, fit_epoch = keras.Model.evaluate, fit_module.Fit._fit_epoch

    def validate(self: keras.Model, *arguments: Any, **values: Any) -> Any:
        validated.append(copied(self))
        return evaluate(self, *arguments, **values)

    def fit(self: fit_module.Fit) -> None:
        fit_epoch(self)
        stepped.extend(copied(self.network))
        assert self.average
        averaged.extend(np.array(weight) for weight in self.average.weights)

    monkeypatch.setattr(keras.Model, "evaluate", validate)
    monkeypatch.setattr(fit_module.Fit, "_fit_epoch", fit)
    network, _ = finished(tmp_path, epochs=1, averaging=0.9)
    assert all((one != other).any() for one, other in zip(stepped, averaged, strict=True))
    assert len(validated) == 1
    for weights in (*validated, copied(network)):
        for one, other in zip(weights, averaged, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("tiny_network")
def test_augmented_chips_are_small_in_the_first_epochs_only(tmp_path: Path) -> None:
    fit = wired(tmp_path, size=48, epochs=5, augment=True)
    assert [fit._side(epoch) for epoch in range(5)] == [32, 32, 32, 48, 48]
    fit = wired(tmp_path, size=48, epochs=5, augment=False)
    assert [fit._side(epoch) for epoch in range(5)] == [48] * 5


@pytest.mark.usefixtures("tiny_network")
def test_what_was_learned_on_small_chips_first_is_kept_for_chips_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes, learned = [], []
    dataset, run = feed_module.Feed.dataset, fit_module.Fit.run

    def looked_at(self: feed_module.Feed, epoch: int | None = None, *arguments: Any) -> tf.data.Dataset:
        found = dataset(self, epoch, *arguments)
        if epoch is not None:
            shapes.append(tuple(next(iter(found))[0].shape[1:]))
        return found

    def fit(self: fit_module.Fit) -> Any:
        rows = run(self)
        learned.extend(copied(self.network))
        return rows

    monkeypatch.setattr(feed_module.Feed, "dataset", looked_at)
    monkeypatch.setattr(fit_module.Fit, "run", fit)
    network, _ = finished(tmp_path, size=48, epochs=2, augment=True)
    assert shapes == [(32, 32, 3), (48, 48, 3)]
    assert network.input_shape == (None, 48, 48, 3)
    for one, other in zip(network.get_weights(), learned, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("tiny_network")
def test_the_log_says_what_is_trained_on_which_devices(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    fit = wired(tmp_path)
    assert [record.getMessage() for record in caplog.records if record.name == train_stage.__name__] == [
        f"training compact ({fit.network.count_params()} parameters) on {len(os.sched_getaffinity(0))} CPU cores, no "
        "GPU: 80 faces of {'female': 40, 'male': 40}, 24 for validation"
    ]


@pytest.mark.usefixtures("tiny_network")
def test_the_log_says_how_fast_it_goes_and_how_long_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fit = wired(tmp_path, epochs=31)
    times = [0.0]
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(monotonic=lambda: times[-1]))
    progress = callbacks.EpochProgress(fit.training, epochs=31, before=fit.position, started=0.0)
    each = callbacks.epoch_callbacks(progress, fit.config, None, fit.checkpoints)
    caplog.set_level(logging.INFO)
    # What was said before may be recorded too: Airflow, if a test before has imported it, lets INFO through.
    caplog.clear()
    # Five steps of 16 faces; the first, which traces the network, does not count.
    for batch, now in enumerate((20.0, 21.0, 25.0, 32.0)):
        times.append(now)
        for callback in each:
            callback.on_train_batch_end(batch, {"loss": 0.5, "accuracy": 0.75})
    assert [record.getMessage() for record in caplog.records if record.name == callbacks.__name__] == [
        "epoch 1/31: step 2 of 5, loss 0.5000, 16 images/s, about 3 min left",
        "epoch 1/31: step 4 of 5, loss 0.5000, 4 images/s, about 10 min left",
    ]


# In a process of its own: logical devices must be named before TensorFlow has looked at the machine.
TWO_DEVICES = """
import functools, json, logging, sys
from pathlib import Path
import tensorflow as tf

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from support.features import make_context, make_features, make_run
from support.networks import tiny
from ml.networks.table import Network, NETWORKS
from ml.stages import train

listed = tf.config.list_physical_devices
tf.config.list_physical_devices = lambda kind=None: [cpu, cpu] if kind == "GPU" else listed(kind)
tf.config.experimental.get_device_details = lambda device: {"device_name": "a GPU"}
tf.distribute.MirroredStrategy = functools.partial(tf.distribute.MirroredStrategy, ["CPU:0", "CPU:1"])
NETWORKS["compact"] = Network(tiny, any_size=True)
train._write = lambda context, network, history, *_: (network, history)
logging.basicConfig(level=logging.INFO)
root = Path(sys.argv[1])
network, history = train.train(make_context(make_run(root, make_features(root), epochs=1)))
rows = [row.json_values() for row in history]
print(json.dumps([network.distribute_strategy.num_replicas_in_sync, rows]))
"""


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_network")
def test_several_devices_share_each_batch(tmp_path: Path) -> None:
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES, str(tmp_path / "two")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert " on a GPU, a GPU: 80 faces" in done.stderr
    replicas, (row,) = json.loads(done.stdout.splitlines()[-1])
    assert replicas == 2
    _, (expected,) = finished(tmp_path / "one", epochs=1)
    # Batch statistics are of each device's own half of a batch.
    for name in ("loss", "val_loss"):
        assert row[name] == pytest.approx(getattr(expected, name), rel=0.05)


@pytest.mark.usefixtures("tiny_network")
def test_a_batch_that_does_not_fit_into_memory_stops_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: Any, **__: Any) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(keras.Model, "fit", exhausted)
    with pytest.raises(ResourceError, match="does not fit in memory") as caught:
        train_stage.train(make_context(make_run(tmp_path, make_features(tmp_path))))
    assert "batch_size" in caught.value.advice


@pytest.mark.usefixtures("tiny_network")
def test_the_same_seed_gives_the_same_training(tmp_path: Path) -> None:
    (one, rows), (two, others) = (finished(tmp_path / name, augment=True, mixing=0.5) for name in ("one", "two"))
    assert [(row.loss, row.val_loss) for row in rows] == [(row.loss, row.val_loss) for row in others]
    for weights, other in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(weights, other)


@pytest.mark.usefixtures("tiny_network")
def test_the_progress_of_a_training_is_in_its_runs_folder_until_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path, make_features(tmp_path), epochs=2)
    context, uri = make_context(run), layout.progress_uri(run.uri)
    write = train_stage._write
    seen = []

    def look(*arguments: Any) -> Any:
        seen.append(TrainingProgress.model_validate(storage.read_json(uri)))
        return write(*arguments)

    monkeypatch.setattr(train_stage, "_write", look)
    train_stage.train(context)
    assert [(row.epochs, row.epoch, row.ended) for row in seen] == [(2, 2, True)]
    assert not storage.exists(uri)


OWN = """
import keras
from keras import layers

def build(chip_size, labels_count):
    pixels = keras.Input((chip_size, chip_size, 3), dtype="uint8")
    x = layers.Conv2D(WIDTH, 3, strides=4, activation="relu")(layers.Rescaling(1 / 255)(pixels))
    return keras.Model(pixels, layers.Dense(labels_count, activation="softmax")(layers.GlobalAveragePooling2D()(x)))
"""


def test_a_network_of_ones_own_is_trained_and_trains_anew_when_its_code_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "path" / "own_test_network" / "small.py"
    source.parent.mkdir(parents=True)
    (source.parent / "__init__.py").write_text("")
    source.write_text("WIDTH = 4\n" + OWN)
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    run = make_run(tmp_path, make_features(tmp_path), epochs=1, network="own_test_network.small:build")
    first = run_stage(run, STAGES["train"], train_stage.train)
    assert run.find_or_adopt(STAGES["train"]) == first
    (source.parent / "helper.py").write_text("# a change anywhere in the package\n")
    assert run.find_or_adopt(STAGES["train"]) is None
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each != str(tmp_path / "path")])
    monkeypatch.delitem(sys.modules, "own_test_network.small")
    classifier = Classifier.load(first)  # without the package
    assert classifier.description.network == "own_test_network.small:build"


def test_the_temperature_lies_in_the_network(tmp_path: Path) -> None:
    reader = FeatureReader(make_features(tmp_path), "validation")
    network = tiny(32, 2)
    network.layers[-1].bias.assign([3.0, -3.0])  # sure, and wrong for half of the faces
    before = network.predict_on_batch(next(reader.batches(64)).pixels)
    found = calibrate.calibrate(network, reader)
    temperature, threshold, scores = found.temperature.chosen, found.threshold.chosen, found.scores
    batch = next(reader.batches(64))
    after = network.predict_on_batch(batch.pixels)
    assert temperature > 2
    np.testing.assert_allclose(
        np.log(after[:, 0] / after[:, 1]) * temperature, np.log(before[:, 0] / before[:, 1]), rtol=1e-3
    )
    assert scores.loss == pytest.approx(-np.log(after[np.arange(24), batch.labels]).mean(), rel=1e-3)
    assert scores.accuracy == ((after[:, 1] >= threshold) == batch.labels).mean()


def test_too_few_faces_are_refused_with_all_counts(tmp_path: Path) -> None:
    features = make_features(tmp_path, {"train": (30, 4), "validation": (3, 1), "test": (2, 0)})
    with pytest.raises(DataError) as caught:
        train_stage.train(make_context(make_run(tmp_path, features, min_faces=5)))
    assert caught.value.message == (
        "Too few labeled faces to train on: train 30 female, 4 male (needed: 5 each); "
        "validation 3 female, 1 male (needed: 1 each); test 2 female, 0 male (needed: 1 each)."
    )
    for name in ("min_faces", "min_face_size", "digest"):
        assert name in caught.value.advice


def test_features_that_number_the_labels_otherwise_are_refused(tmp_path: Path) -> None:
    features = make_features(tmp_path)
    swapped = {**features.metrics, "labels": ["male", "female"]}
    content = features.model_copy(update={"metrics": swapped}).model_dump_json().encode()
    storage.write_bytes(storage.join(features.uri, "manifest.json"), content)
    with pytest.raises(LabelOrderError):
        train_stage.train(make_context(make_run(tmp_path, features)))


@pytest.mark.usefixtures("tiny_network")
@pytest.mark.parametrize("split", ["train", "validation"])
def test_training_on_swapped_channels_is_stopped(split: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = FeatureReader.batches

    def swapped(self: FeatureReader, *arguments: Any) -> Any:
        for batch in read(self, *arguments):
            pixels = batch.pixels[..., ::-1] if self.split == split else batch.pixels
            yield reader_module.Batch(pixels, batch.labels, batch.columns)

    monkeypatch.setattr(FeatureReader, "batches", swapped)
    context = make_context(make_run(tmp_path, make_features(tmp_path)))
    with pytest.raises(PreprocessingError, match=rf"Table {split} .*red and blue are swapped"):
        train_stage.train(context)
    assert not storage.list_files(context.checkpoints)


def test_a_loss_that_is_no_number_stops_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def running_away(chip_size: int, labels_count: int) -> keras.Model:
        network = tiny(chip_size, labels_count)
        network.layers[-1].bias.assign([np.nan] * labels_count)
        return network

    monkeypatch.setitem(NETWORKS, "compact", Network(running_away, any_size=True))
    with pytest.raises(ConfigurationError, match=r"epoch 1/2, step 1\).*learning_rate"):
        train_stage.train(make_context(make_run(tmp_path, make_features(tmp_path))))
