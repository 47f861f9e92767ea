"""Grad-CAM, which shows where on a chip a network looked (Selvaraju et al., 2017, arXiv:1610.02391)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

SMALLEST_PROBABILITY = 1e-30  # a normal float32, so that its logarithm and gradient are finite
CHIPS_AT_ONCE = 8


def last_feature_map(network: keras.Model) -> keras.layers.Layer:
    """Return the last layer with spatial output: shape (n, h, w, channels) with h or w above 1.

    A backbone that is nested in the network as one layer is searched recursively.

    Raises:
        ValueError: No layer has spatial output.
    """
    for layer in reversed(network.layers):
        if isinstance(layer, keras.Model):
            try:
                return last_feature_map(layer)
            except ValueError:
                continue
        shape = layer.output.shape
        if len(shape) == 4 and max(shape[1:3]) > 1 and not isinstance(layer, keras.layers.InputLayer):
            return layer
    raise ValueError(f"network {network.name} has no feature map")


def grad_cam(network: keras.Model, pixels: NDArray[np.uint8], labels: NDArray[np.integer]) -> NDArray[np.float32]:
    """Compute how much each part of the chips supports the given label.

    The channels of the last feature map are weighted by their mean gradient and summed; negative values, which oppose
    the label, become 0. The gradient is that of log p(label) - log p(other), which for two labels is the difference of
    the logits, because the gradient of p itself vanishes where the network is sure.

    Args:
        network: A network from uint8 chips to probabilities of two labels.
        pixels: uint8 RGB, shape (n, side, side, 3).
        labels: The label index to explain for each chip, shape (n,).

    Returns:
        Shape (n, h, w) of the feature map; each chip's largest value is 1, or all are 0 if nothing supports the label.
    """
    layer = last_feature_map(network)
    parts = [
        _grad_cam(network, layer, pixels[start : start + CHIPS_AT_ONCE], labels[start : start + CHIPS_AT_ONCE])
        for start in range(0, len(pixels), CHIPS_AT_ONCE)
    ]
    return np.concatenate(parts)


def _grad_cam(
    network: keras.Model, layer: keras.layers.Layer, pixels: NDArray[np.uint8], labels: NDArray[np.integer]
) -> NDArray[np.float32]:
    with tf.GradientTape(watch_accessed_variables=False) as tape, _watched(layer, tape) as seen:
        logs = tf.math.log(tf.maximum(network(pixels, training=False), SMALLEST_PROBABILITY))
        chosen = tf.gather(logs, labels, axis=1, batch_dims=1)
        other = tf.gather(logs, 1 - labels, axis=1, batch_dims=1)
        margin = tf.reduce_sum(chosen - other)  # chips are independent, so one gradient serves all
    (maps,) = seen
    weights = tf.reduce_mean(tape.gradient(margin, maps), axis=(1, 2), keepdims=True)
    heat = tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1)).numpy()
    largest = heat.max(axis=(1, 2), keepdims=True)
    shares: NDArray[np.float32] = np.divide(heat, largest, out=np.zeros_like(heat), where=largest > 0)
    return shares


@contextmanager
def _watched(layer: keras.layers.Layer, tape: tf.GradientTape) -> Iterator[list[tf.Tensor]]:
    """Collect and watch the layer's output while the network is called, wherever in the network the layer is nested."""
    seen: list[tf.Tensor] = []
    call = layer.call

    def watching(*args: object, **kwargs: object) -> tf.Tensor:
        output = call(*args, **kwargs)
        tape.watch(output)
        seen.append(output)
        return output

    layer.call = watching
    try:
        yield seen
    finally:
        del layer.call  # restores the method of the class
