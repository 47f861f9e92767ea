"""A moving average of a network's weights, which generalizes better than the weights of a single step."""

from __future__ import annotations

import keras
import numpy as np
from numpy.typing import NDArray

EVERY = 4  # steps between updates: reading all weights costs 1% of a training step


class WeightAverage:
    """The exponential moving average of all weights, batch statistics among them (Polyak and Juditsky, 1992).

    Keras' `use_ema` leaves out the batch statistics, which then do not match the averaged weights, and overwrites the
    network's weights at the end of each `fit`.

    Args:
        momentum: Momentum per step, in (0, 1). Early steps use (1 + steps) / (10 + steps) if that is lower, so that the
            initial weights do not dominate short trainings (as in TensorFlow's `ExponentialMovingAverage`).
    """

    def __init__(self, momentum: float) -> None:
        self.momentum = momentum
        self._weights: list[NDArray[np.floating]] = []

    def update(self, network: keras.Model, steps: int) -> None:
        """Add the network's weights after `steps` steps to the average; only every `EVERY`-th call has an effect."""
        if steps % EVERY and self._weights:
            return
        weights = network.get_weights()
        if not self._weights:
            self._weights = [np.array(weight) for weight in weights]
            return
        share = 1 - min(self.momentum, (1 + steps) / (10 + steps)) ** EVERY
        for average, weight in zip(self._weights, weights, strict=True):
            if not np.issubdtype(average.dtype, np.integer):  # keep the counter in EfficientNet's normalization
                average += share * (weight - average)

    def swap(self, network: keras.Model) -> None:
        """Swap the network's weights with the average; a second call swaps them back."""
        weights = [np.array(weight) for weight in network.get_weights()]
        network.set_weights(self._weights)
        self._weights = weights

    @property
    def weights(self) -> list[NDArray[np.floating]]:
        """The average, in the order of the network's weights; set it to resume a training."""
        return self._weights

    @weights.setter
    def weights(self, weights: list[NDArray[np.floating]]) -> None:
        self._weights = weights
