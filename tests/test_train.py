"""Tests of `ml.train` and of `ml.model`, by which its result is loaded."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from features import make_context, make_features, make_run

from ml import data, images, model, storage, train
from ml.data import FeatureReader
from ml.errors import ConfigurationError, DataError, LabelOrderError, PreprocessingError
from ml.flow import STAGES
from ml.model import Classifier
from ml.networks import NETWORKS
from ml.stages import Context, Manifest, run_stage

EPOCHS = 6


def tiny(chip_size: int, labels_count: int) -> keras.Model:
    """A network that costs little to trace, with what training must carry over: batch statistics and dropout."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((chip_size, chip_size, 3), dtype="uint8"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.BatchNormalization(momentum=0.5),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.2),
            layers.Dense(labels_count, activation="softmax"),
        ]
    )


@pytest.fixture
def tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "compact", tiny)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """The compact network, trained on a toy set by the whole stage."""
    root = tmp_path_factory.mktemp("storage")
    run = make_run(root, make_features(root), epochs=12, learning_rate=0.003)
    manifest = run_stage(run, STAGES["train"], train.train)
    assert not storage.list_files(make_context(run).checkpoints)
    return manifest


def altered(manifest: Manifest, folder: Path, path: str, other: bytes) -> Manifest:
    """A copy of a model's attempt in which one file is another."""
    for file in manifest.files:
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.path).write_bytes(storage.read_bytes(manifest.file(file.path)))
    (folder / path).write_bytes(other)
    return manifest.model_copy(update={"uri": storage.normalise(folder)})


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
    assert metrics["validation"] == {
        "loss": best["val_loss"],
        "accuracy": best["val_accuracy"],
        "faces": 24,
        "majority": 0.5,
    }
    assert metrics["images_per_second"] > 0
    assert {file.path for file in trained.files} == {
        *("model.keras", "model.json", "reference.json", "history.json", "curves.png", "model.onnx"),
        *(f"saved_model/1/{name}" for name in ("saved_model.pb", "fingerprint.pb")),
        *(f"saved_model/1/variables/variables.{name}" for name in ("index", "data-00000-of-00001")),
    }
    description = storage.read_json(trained.file("model.json"))
    assert description["meaning"] == "gender presentation as perceived by annotators; never identity"
    assert description["labels"] == metrics["labels"] == ["female", "male"]


def test_the_kept_weights_are_those_of_the_best_epoch(trained: Manifest) -> None:
    batch = next(FeatureReader(storage_features(trained), "validation").batches(64))
    probabilities = Classifier.load(trained).predict(batch.pixels)
    loss = -np.log(probabilities[np.arange(len(batch)), batch.labels]).mean()
    assert loss == pytest.approx(trained.metrics["validation"]["loss"], rel=1e-3, abs=1e-6)


def test_predict_takes_any_number_of_raw_chips(trained: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = Classifier.load(trained)
    pixels = next(FeatureReader(storage_features(trained), "train").batches(80)).pixels
    monkeypatch.setattr(model, "BATCH_SIZE", 7)
    by_sevens = classifier.predict(pixels)
    monkeypatch.setattr(model, "BATCH_SIZE", 80)
    np.testing.assert_allclose(classifier.predict(pixels), by_sevens, atol=1e-5)
    assert classifier.predict(pixels[:0]).shape == (0, 2)
    with pytest.raises(PreprocessingError, match="raw uint8"):
        classifier.predict(pixels / 255)
    with pytest.raises(PreprocessingError, match="scaled before"):
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
    with pytest.raises(PreprocessingError, match="scaled before"):
        Classifier.load(trained)


def test_another_models_file_is_found(trained: Manifest, tmp_path: Path) -> None:
    others = {"model": NETWORKS["compact"](32, 2), "size": NETWORKS["compact"](48, 2), "labels": tiny(32, 3)}
    for name, error in (("model", PreprocessingError), ("size", PreprocessingError), ("labels", LabelOrderError)):
        with pytest.raises(error):
            Classifier.load(altered(trained, tmp_path, "model.keras", model.network_bytes(others[name])))


def test_a_damaged_models_file_is_refused(trained: Manifest, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no model that can be loaded"):
        Classifier.load(altered(trained, tmp_path, "model.keras", b"PK none"))


def test_a_model_is_loaded_from_an_object_store(trained: Manifest) -> None:
    uri = "memory://models/attempt"
    for file in trained.files:
        storage.write_bytes(storage.join(uri, file.path), storage.read_bytes(trained.file(file.path)))
    remote = trained.model_copy(update={"uri": uri})
    storage.write_bytes(storage.join(uri, "manifest.json"), remote.model_dump_json().encode())
    assert Classifier.load(uri).labels == ["female", "male"]


@pytest.mark.usefixtures("tiny_network")
def test_a_killed_training_resumes_and_ends_like_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run(tmp_path, make_features(tmp_path), epochs=EPOCHS, augment=True)
    whole = make_context(run, "whole")
    train.train(whole)
    storage.remove(whole.checkpoints)

    save = train.Checkpoints.save

    def killed(self: train.Checkpoints, network: keras.Model, rows: list[dict[str, Any]]) -> None:
        save(self, network, rows)
        if len(rows) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(train.Checkpoints, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        train.train(make_context(run, "killed"))
    monkeypatch.setattr(train.Checkpoints, "save", save)

    resumed = make_context(run, "resumed")
    caplog.clear()
    caplog.set_level(logging.INFO)
    result = train.train(resumed)
    told = [record.getMessage() for record in caplog.records]
    assert any(text.startswith("resuming after epoch 2") for text in told)
    assert [text.split(":")[0] for text in told if text.startswith("epoch ")] == [
        f"epoch {epoch}/{EPOCHS}" for epoch in range(3, EPOCHS + 1)
    ]
    assert result.metrics["epochs"] == EPOCHS
    for row, expected in zip(history(resumed), history(whole), strict=True):
        assert row == pytest.approx(expected, rel=1e-4)


@pytest.mark.usefixtures("tiny_network")
@pytest.mark.parametrize("damaged", ["state.json", "epoch-0001.keras"])
def test_damaged_checkpoints_are_not_used(damaged: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    context = make_context(make_run(tmp_path, make_features(tmp_path), epochs=1))
    checkpoints = train.Checkpoints(context.checkpoints)
    assert checkpoints.resume() is None
    checkpoints.save(tiny(32, 2), [{"epoch": 1, "val_loss": 0.5}])
    assert checkpoints.resume() is not None
    uri = storage.join(context.checkpoints, damaged)
    storage.write_bytes(uri, storage.read_bytes(uri)[:-9])
    assert checkpoints.resume() is None
    assert "damaged" in caplog.text
    storage.remove(uri)
    assert checkpoints.resume() is None


def test_only_the_last_and_the_best_checkpoint_are_kept(tmp_path: Path) -> None:
    checkpoints = train.Checkpoints(storage.normalise(tmp_path))
    rows: list[dict[str, Any]] = []
    for epoch, loss in enumerate((0.9, 0.5, 0.7, 0.6), 1):
        rows.append({"epoch": epoch, "val_loss": loss})
        checkpoints.save(tiny(32, 2), rows)
    assert list(storage.list_files(storage.normalise(tmp_path))) == [
        *("epoch-0002.keras", "epoch-0004.keras", "state.json"),
    ]


def test_too_few_faces_are_refused_with_all_counts(tmp_path: Path) -> None:
    features = make_features(tmp_path, {"train": (30, 4), "validation": (3, 1), "test": (2, 0)})
    with pytest.raises(DataError) as caught:
        train.train(make_context(make_run(tmp_path, features, min_faces=5)))
    assert caught.value.message == (
        "Too few labelled faces to train on: train 30 female, 4 male (needed: 5 each); "
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
        train.train(make_context(make_run(tmp_path, features)))


@pytest.mark.usefixtures("tiny_network")
@pytest.mark.parametrize("split", ["train", "validation"])
def test_training_on_swapped_channels_is_stopped(split: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = FeatureReader.batches

    def swapped(self: FeatureReader, *arguments: Any) -> Any:
        for batch in read(self, *arguments):
            pixels = batch.pixels[..., ::-1] if self.split == split else batch.pixels
            yield data.Batch(pixels, batch.labels, batch.columns)

    monkeypatch.setattr(FeatureReader, "batches", swapped)
    context = make_context(make_run(tmp_path, make_features(tmp_path)))
    with pytest.raises(PreprocessingError, match=rf"Table {split} .*red and blue are swapped"):
        train.train(context)
    assert not storage.list_files(context.checkpoints)


def test_a_loss_that_is_no_number_stops_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def running_away(chip_size: int, labels_count: int) -> keras.Model:
        network = tiny(chip_size, labels_count)
        network.layers[-1].bias.assign([np.nan] * labels_count)
        return network

    monkeypatch.setitem(NETWORKS, "compact", running_away)
    with pytest.raises(ConfigurationError, match=r"epoch 1/2, step 1\).*learning_rate"):
        train.train(make_context(make_run(tmp_path, make_features(tmp_path))))
