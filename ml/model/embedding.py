"""The embedding of chips: what a network computes before its last layer, for a chip and its mirror image."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ml.guards import check_pixels, check_probabilities
from ml.model.classifier import BATCH_SIZE, Classifier
from ml.model.penultimate import WIDEST, narrowed, with_features


class Embedder:
    """Computes the embeddings of chips and, in the same pass, their label probabilities.

    Args:
        classifier: A trained model.

    Attributes:
        width: Length of an embedding.
    """

    def __init__(self, classifier: Classifier) -> None:
        self._chip_size = classifier.chip_size
        both = with_features(classifier.network)
        self.width = min(int(both.outputs[1].shape[-1]), WIDEST)
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
        probabilities, embeddings = (
            np.concatenate([(part[side].numpy() + part[side + 2].numpy()) / 2 for part in parts]) for side in (0, 1)
        )
        check_probabilities(probabilities)
        return narrowed(embeddings), probabilities
