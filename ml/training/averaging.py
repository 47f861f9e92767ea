"""A moving average of a network's weights, which generalises better than the weights of any one step."""

from __future__ import annotations

import keras
import numpy as np
from numpy.typing import NDArray

EVERY = 4  # steps between two updates: reading all weights costs a hundredth of a training step


class WeightAverage:
    """The exponential moving average of all weights, batch statistics among them (Polyak and Juditsky, 1992).

    Keras' own `use_ema` leaves the batch statistics out, so that they would belong to other weights, and overwrites
    the network's weights at the end of each `fit`.

    Args:
        momentum: A step, in (0, 1). Early on it is lower, (1 + steps) / (10 + steps), so that short trainings are not
            dominated by their initial weights (as in TensorFlow's `ExponentialMovingAverage`).
    """

    def __init__(self, momentum: float) -> None:
        self.momentum = momentum
        self._weights: list[NDArray[np.floating]] = []

    def update(self, network: keras.Model, steps: int) -> None:
        """Take in the network's weights after its `steps`-th step; steps between those counted change nothing."""
        if steps % EVERY and self._weights:
            return
        weights = network.get_weights()
        if not self._weights:
            self._weights = [np.array(weight) for weight in weights]
            return
        share = 1 - min(self.momentum, (1 + steps) / (10 + steps)) ** EVERY
        for average, weight in zip(self._weights, weights, strict=True):
            if not np.issubdtype(average.dtype, np.integer):  # EfficientNet's normalization has a count, which stays
                average += share * (weight - average)

    def swap(self, network: keras.Model) -> None:
        """Give the network the average and keep its weights here; a second call undoes it."""
        weights = [np.array(weight) for weight in network.get_weights()]
        network.set_weights(self._weights)
        self._weights = weights

    @property
    def weights(self) -> list[NDArray[np.floating]]:
        """The average, in the order of the network's weights; to be set when a training goes on."""
        return self._weights

    @weights.setter
    def weights(self, weights: list[NDArray[np.floating]]) -> None:
        self._weights = weights
