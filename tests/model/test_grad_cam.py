"""Grad-CAM finds the evidence where a network's evidence is known to lie."""

import keras
import numpy as np
import pytest
from keras import layers

from ml.model.grad_cam import grad_cam, last_feature_map
from ml.networks.compact import compact
from ml.networks.notebook import notebook

SIDE = 32


def colour_features(inputs):
    """Convolution whose first channel is red and whose second one is blue, pooled to 8 x 8."""
    convolution = layers.Conv2D(2, 1, use_bias=False, name="colours")
    x = convolution(layers.Rescaling(1 / 255)(inputs))
    convolution.set_weights([np.array([[[[1, 0], [0, 0], [0, 1]]]], np.float32)])
    return layers.AveragePooling2D(4, name="pooled")(x)


def ended(inputs, x, sharpness):
    """A network that answers label 0 for red and 1 for blue."""
    head = layers.Dense(2, activation="softmax")
    network = keras.Model(inputs, head(x))
    head.set_weights([sharpness * np.eye(2), np.zeros(2)])
    return network


def flat(sharpness=20.0):
    inputs = keras.Input((SIDE, SIDE, 3), dtype="uint8")
    return ended(inputs, layers.GlobalAveragePooling2D()(colour_features(inputs)), sharpness)


def nested(sharpness=20.0):
    """The same with features and pooling in a backbone that is one layer of the network."""
    inner = keras.Input((SIDE, SIDE, 3))
    backbone = keras.Model(inner, layers.GlobalAveragePooling2D()(colour_features(inner)), name="backbone")
    inputs = keras.Input((SIDE, SIDE, 3), dtype="uint8")
    return ended(inputs, backbone(inputs), sharpness)


@pytest.fixture
def chip():
    """Red at the upper left, blue at the lower right."""
    pixels = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    pixels[0, :8, :8, 0] = 250
    pixels[0, -8:, -8:, 2] = 250
    return pixels


@pytest.mark.parametrize("build", [flat, nested])
@pytest.mark.parametrize("sharpness", [20.0, 2000.0])
def test_each_label_lights_up_its_own_colour(build, chip, sharpness):
    red, blue = grad_cam(build(sharpness), np.repeat(chip, 2, axis=0), np.array([0, 1]))
    assert red.shape == (8, 8)
    assert (red[:2, :2] == 1).all()
    assert red[2:].max() == 0
    assert (blue[-2:, -2:] == 1).all()
    assert blue[:-2].max() == 0


def test_a_chip_without_evidence_stays_dark():
    heat = grad_cam(flat(), np.zeros((1, SIDE, SIDE, 3), np.uint8), np.array([0]))
    assert (heat == 0).all()


@pytest.mark.parametrize("build", [compact, notebook])
def test_the_networks_of_the_table_have_a_feature_map(build):
    network = build(64, 2)
    heat = grad_cam(network, np.random.default_rng(0).integers(0, 255, (9, 64, 64, 3), np.uint8), np.arange(9) % 2)
    assert heat.shape[0] == 9
    assert min(heat.shape[1:]) > 1
    assert heat.min() >= 0
    assert heat.max() <= 1


def test_the_network_is_left_as_it_was(chip):
    network = flat()
    before = network.predict_on_batch(chip)
    grad_cam(network, chip, np.array([0]))
    assert "call" not in vars(last_feature_map(network))
    assert (network.predict_on_batch(chip) == before).all()


def test_a_network_without_convolution_is_refused():
    inputs = keras.Input((SIDE, SIDE, 3), dtype="uint8")
    network = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(inputs)))
    with pytest.raises(ValueError, match="no feature map"):
        last_feature_map(network)
