"""Tests of `ml.networks` and of `ml.augmentation`, which feeds them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from ml.augmentation import augment
from ml.networks import NETWORKS


def test_the_notebooks_network_has_the_parameters_that_the_report_states() -> None:
    network = NETWORKS["notebook"](224, 2)
    assert network.count_params() == 42_753_922
    assert sum(int(np.prod(w.shape)) for w in network.non_trainable_weights) == 2_880
    layers = [type(layer).__name__ for layer in network.layers if type(layer).__name__ != "Rescaling"]
    block = ["Conv2D", "ReLU", "BatchNormalization"]
    end = ["MaxPooling2D", "Dropout"]
    dense = ["Flatten", "Dense", "ReLU", "BatchNormalization", "Dropout", "Dense", "Softmax"]
    assert layers == [*block, *end, *block, *block, *end, *block, *block, *end, *dense]


def test_the_compact_network_is_small() -> None:
    assert 700_000 <= NETWORKS["compact"](96, 2).count_params() <= 1_500_000


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_take_raw_chips_and_give_probabilities(name: str) -> None:
    network = NETWORKS[name](32, 2)
    chips = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    assert network.inputs[0].dtype == "uint8"
    probabilities = network(chips, training=False).numpy()
    assert probabilities.shape == (3, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_augmentation_gives_other_raw_chips_and_is_repeatable() -> None:
    chips = np.random.default_rng(0).integers(0, 256, (8, 48, 48, 3), dtype=np.uint8)
    once, again, other = (augment(tf.constant(chips), tf.constant([7, step])).numpy() for step in (1, 1, 2))
    assert once.dtype == np.uint8
    assert once.shape == chips.shape
    np.testing.assert_array_equal(once, again)
    assert (once != other).any(axis=(1, 2, 3)).all()


def test_augmentation_keeps_a_face_where_it_was_and_its_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONTRAST", "BRIGHTNESS", "SHIFT"):
        monkeypatch.setattr(f"ml.augmentation.{name}", 0.0)
    chips = np.full((32, 49, 49, 3), (10, 60, 200), np.uint8)
    chips[:, 20:29, 20:29] = (200, 60, 10)
    changed = augment(tf.constant(chips), tf.constant([7, 1])).numpy()
    assert (changed[:, 24, 24] == (200, 60, 10)).all()  # turned and zoomed about the middle
    assert (changed[:, 0, 0] == (10, 60, 200)).all()  # beyond the border its pixels are repeated


def test_augmentation_flips_about_half_of_the_chips(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONTRAST", "BRIGHTNESS", "SHIFT", "ROTATION_DEGREES", "SHEAR", "ZOOM"):
        monkeypatch.setattr(f"ml.augmentation.{name}", 0.0)
    chips = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), dtype=np.uint8)
    changed = augment(tf.constant(chips), tf.constant([7, 1])).numpy()
    same = (changed == chips).all(axis=(1, 2, 3))
    flipped = (changed == chips[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same | flipped).all()
    assert 16 < flipped.sum() < 48
