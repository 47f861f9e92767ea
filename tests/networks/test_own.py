"""A network of the user's own: what is accepted, what is refused and how that is said."""

import keras
import numpy as np
import pytest
from keras import layers

from ml.errors import ConfigurationError
from ml.networks.own import own_network
from ml.networks.table import build_network, find_network

SOURCE = """
import keras
from keras import layers


def build(chip_size, labels_count):
    pixels = keras.Input((chip_size, chip_size, 3), dtype="uint8")
    x = layers.Conv2D(4, 3, strides=2, activation="relu")(layers.Rescaling(1 / 255)(pixels))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(pixels, layers.Dense(labels_count, activation="softmax")(x))


def broken(chip_size, labels_count):
    raise ZeroDivisionError("no pixels")
"""


@pytest.fixture
def ours(tmp_path, monkeypatch):
    folder = tmp_path / "our_networks"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "small.py").write_text(SOURCE)
    (folder / "faulty.py").write_text("import a_module_that_is_not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("ours")
def test_a_network_of_ones_own_is_built_like_any_other():
    network = build_network("our_networks.small:build", 32, 2)
    answers = network.predict_on_batch(np.zeros((3, 32, 32, 3), np.uint8))
    np.testing.assert_allclose(answers.sum(axis=1), 1, rtol=1e-5)
    found = find_network("our_networks.small:build")
    assert not found.any_size
    assert not found.pretrained


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("our_networks.absent:build", "cannot be imported: ModuleNotFoundError: No module named 'our_networks.absent'"),
        ("our_networks.small:other", "cannot be imported: AttributeError"),
        ("our_networks.faulty:build", "No module named 'a_module_that_is_not_there'"),
    ],
)
def test_what_cannot_be_imported_is_said(name, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        own_network(name)
    assert "PYTHONPATH" in caught.value.advice


@pytest.mark.usefixtures("ours")
def test_an_error_of_the_function_is_said():
    with pytest.raises(ConfigurationError, match=r"small:broken\(32, 2\) failed: ZeroDivisionError: no pixels"):
        build_network("our_networks.small:broken", 32, 2)


class Custom(layers.Layer):
    def call(self, x):
        return x


def network_of(*middle, size=32, kind="uint8", head=None, after=()):
    pixels = keras.Input((size, size, 3), dtype=kind)
    x = layers.Rescaling(1 / 255)(pixels)
    for layer in (*middle, *(head or [layers.Dense(2, activation="softmax")]), *after):
        x = layer(x)
    return keras.Model(pixels, x)


REFUSED = {
    "not a built keras.Model but int": lambda: 7,
    "it takes": lambda: network_of(layers.Conv2D(2, 3), layers.Flatten(), kind="float32"),
    "and not uint8": lambda: network_of(layers.Conv2D(2, 3), layers.Flatten(), size=64),
    "it gives": lambda: network_of(layers.Conv2D(2, 3), layers.Flatten(), head=[layers.Dense(3, activation="softmax")]),
    "are not Keras' own": lambda: network_of(layers.Conv2D(2, 3), Custom(name="mine"), layers.Flatten()),
    "or are Lambda layers": lambda: network_of(layers.Conv2D(2, 3), layers.Lambda(lambda x: x), layers.Flatten()),
    "neither softmax nor linear": lambda: network_of(
        layers.Conv2D(2, 3), layers.Flatten(), head=[layers.Dense(2, activation="sigmoid")]
    ),
    "is not a softmax": lambda: network_of(
        layers.Conv2D(2, 3), layers.Flatten(), head=[layers.Dense(2)], after=[layers.Rescaling(2.0)]
    ),
    "last layer with weights is not Dense": lambda: network_of(
        layers.Conv2D(2, 3), layers.Flatten(), head=[layers.Dense(2), layers.BatchNormalization(), layers.Softmax()]
    ),
    "its outputs are not probabilities": lambda: network_of(
        layers.Conv2D(2, 3), layers.Flatten(), head=[layers.Dense(2)]
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_network_that_the_rest_could_not_use_is_refused_before_it_is_trained(fault, tmp_path, monkeypatch):
    (tmp_path / "refused.py").write_text("build = None\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "refused", raising=False)
    monkeypatch.setattr("refused.build", lambda chip_size, labels_count: REFUSED[fault]())
    with pytest.raises(ConfigurationError, match="cannot be used") as caught:
        build_network("refused:build", 32, 2)
    assert fault in caught.value.message
    assert "docs/own-network.md" in caught.value.advice


def test_a_softmax_of_its_own_is_accepted(tmp_path, monkeypatch):
    (tmp_path / "accepted.py").write_text("build = None\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    whole = network_of(layers.Conv2D(2, 3), layers.Flatten(), head=[layers.Dense(2)], after=[layers.Softmax()])
    monkeypatch.setattr("accepted.build", lambda *_: whole)
    assert build_network("accepted:build", 32, 2) is whole
