"""The features of a network: what its last layer with weights is given, bounded in width."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import keras

# Wider features are projected at random to this width, which keeps their distances (Johnson and Lindenstrauss, 1984)
# and bounds the memory for all training faces.
WIDEST = 256


def with_features(network: keras.Model) -> keras.Model:
    """Return a network with two outputs: the given one's, and the input of its last layer with weights."""
    import keras  # imported late, because ONNX Runtime's users need only the rest

    head = next(layer for layer in reversed(network.layers) if layer.weights)
    return keras.Model(network.inputs, [network.outputs[0], head.input])


def narrowed(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Project features wider than `WIDEST` to that width, always in the same way.

    Args:
        features: Shape (n, width).
    """
    if (width := features.shape[1]) <= WIDEST:
        return features
    return features @ np.random.default_rng(0).normal(0, WIDEST**-0.5, (width, WIDEST)).astype(np.float32)
