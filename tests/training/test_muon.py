"""Tests of `ml.training.muon`."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from ml.training.muon import Muon

RATE = 0.01


def step(shape: tuple[int, ...], gradient: np.ndarray, optimiser: keras.optimizers.Optimizer) -> np.ndarray:
    """What one step changes of a variable of zeros."""
    variable = keras.Variable(np.zeros(shape, np.float32), name="kernel")
    optimiser.build([variable])
    optimiser.apply([tf.constant(gradient, tf.float32)], [variable])
    return np.asarray(variable)


@pytest.mark.parametrize("shape", [(3, 3, 8, 16), (3, 3, 2, 64), (1, 1, 32, 16)])
def test_a_convolutions_kernel_moves_alike_in_all_directions(shape: tuple[int, ...]) -> None:
    rows, columns = np.prod(shape[:-1]), shape[-1]
    random = np.random.default_rng(0)
    # A gradient that is a thousand times as large in one direction as in the others.
    left = np.linalg.qr(random.normal(size=(rows, min(rows, columns))))[0]
    right = np.linalg.qr(random.normal(size=(columns, min(rows, columns))))[0]
    sizes = np.ones(min(rows, columns))
    sizes[0] = 1000.0
    gradient = (left * sizes) @ right.T
    changed = step(shape, gradient.reshape(shape), Muon(RATE, 0.0)).reshape(rows, columns)
    found = np.linalg.svd(changed, compute_uv=False)[: len(sizes)]
    assert found.max() / np.median(found) < 20, "of a thousand, little is left"
    assert (changed * gradient).sum() < 0, "downhill"


# The last is what Conv2D(8, 3, groups=8) has, by which ConvNeXt is depthwise.
@pytest.mark.parametrize(
    "shape", [(16, 2), (16,), (3, 3, 8, 1), (3, 3, 1, 8)], ids=["dense", "bias", "depthwise", "a group a channel"]
)
def test_all_else_moves_as_adamw_moves_it(shape: tuple[int, ...]) -> None:
    gradient = np.random.default_rng(0).normal(size=shape)
    found = step(shape, gradient, Muon(RATE, 0.0))
    expected = step(shape, gradient, keras.optimizers.AdamW(RATE, weight_decay=0.0))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_weights_decay_but_those_that_are_excluded() -> None:
    kernels = {name: keras.Variable(np.ones((3, 3, 4, 4), np.float32), name=name) for name in ("kernel", "gamma")}
    optimiser = Muon(RATE, weight_decay=0.1)
    optimiser.exclude_from_weight_decay(var_names=["gamma"])
    optimiser.build(list(kernels.values()))
    nothing = tf.zeros((3, 3, 4, 4))
    optimiser.apply([nothing, nothing], list(kernels.values()))
    np.testing.assert_allclose(np.asarray(kernels["kernel"]), 1 - RATE * 0.1, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(kernels["gamma"]), 1.0, rtol=1e-5)
