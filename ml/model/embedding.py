"""The embedding of chips: what a network computes before its last layer, for a chip and its mirror image."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ml.guards import check_pixels, check_probabilities
from ml.model.classifier import BATCH_SIZE, Classifier

# Wider embeddings are projected at random to this width, which keeps their distances (Johnson and Lindenstrauss, 1984)
# and bounds the memory for all training faces.
WIDEST = 256


class Embedder:
    """Computes the embeddings of chips and, in the same pass, their label probabilities.

    Args:
        classifier: A trained model.

    Attributes:
        width: Length of an embedding.
    """

    def __init__(self, classifier: Classifier) -> None:
        self._chip_size = classifier.chip_size
        network = classifier.network
        head = next(layer for layer in reversed(network.layers) if layer.weights)
        both = keras.Model(network.inputs, [head.input, network.outputs[0]])
        given = int(head.input.shape[-1])
        self.width = min(given, WIDEST)
        projection = np.random.default_rng(0).normal(0, self.width**-0.5, (given, self.width)).astype(np.float32)
        self._projection = projection if given > WIDEST else None
        side = self._chip_size
        signature = [tf.TensorSpec((None, side, side, 3), tf.uint8)]
        self._forward = tf.function(lambda chips: both(chips, training=False), input_signature=signature)

    def embed(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Compute the embeddings and the label probabilities of chips, each averaged with its mirror image's.

        The average is more accurate than either (test-time augmentation).

        Args:
            pixels: uint8 RGB, shape (n, chip_size, chip_size, 3), 0..255, any n.

        Returns:
            float32, shape (n, width), and float32, shape (n, labels).

        Raises:
            PreprocessingError: The chips have another type or size, or were scaled.
            MetricsError: The network's outputs are not probabilities.
        """
        check_pixels(pixels, self._chip_size)
        chips = [pixels[start : start + BATCH_SIZE] for start in range(0, len(pixels), BATCH_SIZE)]
        parts = [(*self._forward(batch), *self._forward(batch[:, :, ::-1])) for batch in chips]
        embeddings, probabilities = (
            np.concatenate([(part[side].numpy() + part[side + 2].numpy()) / 2 for part in parts]) for side in (0, 1)
        )
        check_probabilities(probabilities)
        return embeddings if self._projection is None else embeddings @ self._projection, probabilities
