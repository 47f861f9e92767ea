"""Traps of the original notebook at prediction, each planted here and caught by a check of the product.

The labels' order turned round (3), pixels scaled twice or not at all (5), red and blue swapped (6): each would give
answers that look like any other, so each must stop the prediction before anything is written.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import matplotlib.cbook
import numpy as np
import pytest

from ml import storage
from ml.config.training import TrainingConfig
from ml.errors import LabelOrderError, PreprocessingError
from ml.model import saved_model as saved_model_file
from ml.model import write
from ml.model.classifier import Classifier
from ml.model.description import DESCRIPTION
from ml.model.keras_file import MODEL
from ml.model.onnx import export_onnx
from ml.model.onnx_classifier import ONNX
from ml.prediction.photos import predict_photos
from ml.prediction.predictor import load_predictor
from ml.vision import images
from support.models import make_model, reds_and_blues

HOPPER = Path(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
ORIGINAL = {"decode": images.decode, "chip": images.decode_chip, "export": saved_model_file.decode_chip}


@pytest.fixture
def model(tmp_path):
    return make_model(tmp_path, sharpness=10.0)


@pytest.fixture
def predict(model, tmp_path):
    """Predict a photograph; the answer's label."""

    def run():
        out = tmp_path / "out"
        try:
            predict_photos([HOPPER], out, model.uri, "unused", 0.5, TrainingConfig())
        except BaseException:
            assert not out.exists(), "nothing is written"
            raise
        return (out / "predictions.csv").read_text().splitlines()[1].split(",")[7]

    return run


def file_of(model, name):
    """The path of a model's file, which its manifest need not list."""
    return Path(storage.local_path(storage.join(model.uri, name)))


def overwrite(model, file, value):
    storage.write_json(storage.join(model.uri, file), value)


def test_nothing_planted_nothing_caught(predict):
    assert predict() == "female"


# --- 3: label order at prediction the reverse of the order at training


def test_trap_3_a_description_that_turns_the_labels_round(model, predict):
    description = storage.read_json(model.file(DESCRIPTION))
    overwrite(model, DESCRIPTION, {**description, "labels": ["male", "female"]})
    with pytest.raises(LabelOrderError, match=r"\['male', 'female'\], expected \['female', 'male'\]"):
        predict()


def test_trap_3_a_caller_with_an_order_of_its_own(model):
    with pytest.raises(LabelOrderError, match=r"\['female', 'male'\], expected \['male', 'female'\]"):
        Classifier.load(model, labels=["male", "female"])


def test_trap_3_a_served_model_that_names_its_outputs_the_wrong_way_round(model, tmp_path, monkeypatch):
    original = saved_model_file.export_saved_model

    def turned(network, description, folder):
        original(network, description.model_copy(update={"labels": description.labels[::-1]}), folder)

    monkeypatch.setattr(write, "export_saved_model", turned)
    with pytest.raises(PreprocessingError, match="reference chips"):
        make_model(tmp_path, name="turned", network=reds_and_blues(32))


# --- 5: scaled twice at training, once at prediction


@pytest.mark.parametrize("scaled", [lambda p: p / 255, lambda p: (p / 255).astype(np.uint8), lambda p: p / 127.5 - 1])
def test_trap_5_pixels_that_are_scaled_before_the_network(predict, monkeypatch, scaled):
    monkeypatch.setattr("ml.prediction.predictor.images.decode_chip", lambda *given: scaled(ORIGINAL["chip"](*given)))
    with pytest.raises(PreprocessingError, match=r"raw uint8|already scaled"):
        predict()


@pytest.mark.parametrize("times", [0, 2])
def test_trap_5_a_network_that_scales_another_number_of_times(model, predict, tmp_path, times):
    import keras

    trained = Classifier.load(model).network
    pixels = keras.Input((32, 32, 3), dtype="uint8")
    x = pixels
    for _ in range(times):
        x = keras.layers.Rescaling(1 / 255)(x)
    head = keras.layers.Dense.from_config(trained.layers[-1].get_config())
    other = keras.Model(pixels, head(keras.layers.GlobalAveragePooling2D()(keras.ops.cast(x, "float32"))))
    head.set_weights(trained.layers[-1].get_weights())
    other.save(storage.local_path(model.file(MODEL)))
    export_onnx(other, Classifier.load(make_model(tmp_path, name="same").uri).description, file_of(model, ONNX))
    for refused in (predict, lambda: load_predictor(model.uri, 0.5)):  # the one reads the ONNX file, the other Keras'
        with pytest.raises(PreprocessingError, match="reference chips"):
            refused()


def test_trap_5_a_served_model_that_scales_once_more(tmp_path, monkeypatch):
    monkeypatch.setattr(saved_model_file, "decode_chip", lambda *given: ORIGINAL["export"](*given) // 255)
    with pytest.raises(PreprocessingError, match="reference chips"):
        make_model(tmp_path, name="scaled", network=reds_and_blues(32))


# --- 6: RGB at training, BGR at prediction


def test_trap_6_photographs_that_are_decoded_as_opencv_does(predict, monkeypatch):
    monkeypatch.setattr(images, "decode", lambda data: np.ascontiguousarray(ORIGINAL["decode"](data)[..., ::-1]))
    with pytest.raises(PreprocessingError, match="reference chips"):
        predict()


def test_trap_6_a_spark_worker_refuses_as_the_command_does(model, monkeypatch):
    monkeypatch.setattr(images, "decode", lambda data: np.ascontiguousarray(ORIGINAL["decode"](data)[..., ::-1]))
    with pytest.raises(PreprocessingError, match="reference chips"):
        load_predictor(model.uri, 0.5)


def test_trap_6_a_network_of_another_training_with_bgr_chips(model, predict, tmp_path):
    other = make_model(tmp_path, sharpness=-10.0, name="bgr")  # what is red to it is blue to the other
    for name in (MODEL, ONNX):
        shutil.copyfile(file_of(other, name), file_of(model, name))
    for refused in (predict, lambda: load_predictor(model.uri, 0.5)):
        with pytest.raises(PreprocessingError, match="reference chips"):
            refused()


def test_trap_6_a_served_model_that_decodes_as_opencv_does(tmp_path, monkeypatch):
    monkeypatch.setattr(saved_model_file, "decode_chip", lambda *given: ORIGINAL["export"](*given)[..., ::-1])
    with pytest.raises(PreprocessingError, match="reference chips"):
        make_model(tmp_path, name="swapped", network=reds_and_blues(32))
