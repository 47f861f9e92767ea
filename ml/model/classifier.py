"""A trained model: what its attempt holds, and how it is loaded to predict with it.

An attempt of stage train holds `model.keras` (the network, which scales its input), `model.json` (`Description`) and
`reference.json`: a few validation chips with the probabilities that the model predicted after training. Loading a model
predicts these chips again, which detects swapped channels, double scaling or another model's file before anything else
is predicted. `saved_model` and `model.onnx` hold the same network for other servers, and the latter for
`ml.model.onnx_classifier`.
"""

from __future__ import annotations

import functools
import zipfile
from collections.abc import Callable, Sequence
from typing import Self

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ml.errors import LabelOrderError, PreprocessingError
from ml.guards import check_pixels, check_probabilities
from ml.model.description import Description
from ml.model.keras_file import MODEL, load_network
from ml.model.loading import check_model, read_description, refusal
from ml.model.penultimate import narrowed, with_features
from ml.workflow.manifest import Manifest, load_manifest

BATCH_SIZE = 64


class Classifier:
    """Predicts the label probabilities of chips with Keras.

    Args:
        network: A trained network of `ml.networks.table`.
        description: The model's description.

    Raises:
        PreprocessingError: The network does not take the chips that the description states.
        LabelOrderError: The number of outputs differs from the number of labels.
    """

    def __init__(self, network: keras.Model, description: Description) -> None:
        self.network = network
        self.description = description
        side = description.chip_size
        (pixels,) = network.inputs
        if (pixels.dtype, tuple(pixels.shape[1:])) != ("uint8", (side, side, 3)):
            given = f"{pixels.dtype} {tuple(pixels.shape[1:])}"
            raise PreprocessingError(
                f"The network takes {given}, but its description states uint8 {(side, side, 3)}.",
                "The model's files do not belong together: train again.",
            )
        if (outputs := network.output_shape[-1]) != len(description.labels):
            raise LabelOrderError(
                f"The network has {outputs} outputs, but its description names the labels {description.labels}.",
                "The model's files do not belong together: train again.",
            )
        # One trace for all batch sizes.
        signature = [tf.TensorSpec((None, side, side, 3), tf.uint8)]
        self._forward = tf.function(lambda chips: network(chips, training=False), input_signature=signature)

    @classmethod
    def load(cls, source: Manifest | str, labels: Sequence[str] | None = None) -> Self:
        """Load a trained model and check it.

        Args:
            source: The manifest or URI of the attempt of stage train.
            labels: The order of labels that the caller expects; None to accept the model's.

        Raises:
            DataError: There is no such model, one of its files is damaged, or Keras does not know one of its layers.
            LabelOrderError: Two places disagree about the labels' order.
            PreprocessingError: The probabilities of the reference chips have changed.
        """
        manifest = load_manifest(source) if isinstance(source, str) else source
        description = read_description(manifest, labels)
        try:
            network = load_network(manifest.file(MODEL))
        except (KeyError, TypeError, ValueError, OSError, zipfile.BadZipFile) as error:
            advice = f"Name a committed attempt of stage train whose layers Keras {keras.__version__} knows."
            raise refusal(manifest, error, advice) from error
        classifier = cls(network, description)
        check_model(manifest, classifier.predict)
        return classifier

    @property
    def labels(self) -> list[str]:
        """The labels in the order of the probabilities' columns."""
        return self.description.labels

    @property
    def chip_size(self) -> int:
        """Width and height of the chips that `predict` takes, in pixels."""
        return self.description.chip_size

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict the probability of each label for each chip.

        Args:
            pixels: uint8 RGB, shape (n, chip_size, chip_size, 3), 0..255, any n.

        Returns:
            float32, shape (n, labels), rows that sum to 1.

        Raises:
            PreprocessingError: The chips have another type or size, or were scaled.
            MetricsError: The network's outputs are not probabilities.
        """
        check_pixels(pixels, self.chip_size)
        parts = [
            self._forward(pixels[start : start + BATCH_SIZE]).numpy() for start in range(0, len(pixels), BATCH_SIZE)
        ]
        probabilities = np.concatenate(parts or [np.zeros((0, len(self.labels)), np.float32)])
        check_probabilities(probabilities)
        return probabilities

    def predict_with_features(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Predict chips as `predict` does, and return the network's features of each in the same pass.

        Args:
            pixels: As for `predict`.

        Returns:
            float32, shape (n, labels), and float32, shape (n, width of `ml.model.penultimate.narrowed`).

        Raises:
            PreprocessingError: As `predict`.
            MetricsError: As `predict`.
        """
        check_pixels(pixels, self.chip_size)
        # A batch without chips has no rows, but tells the width.
        starts = range(0, len(pixels) or 1, BATCH_SIZE)
        parts = [self._forward_both(pixels[start : start + BATCH_SIZE]) for start in starts]
        probabilities, features = (np.concatenate([part[side].numpy() for part in parts]) for side in (0, 1))
        check_probabilities(probabilities)
        return probabilities, narrowed(features)

    @functools.cached_property
    def _forward_both(self) -> Callable[[NDArray[np.uint8]], list[tf.Tensor]]:
        both, side = with_features(self.network), self.chip_size
        signature = [tf.TensorSpec((None, side, side, 3), tf.uint8)]
        forward: Callable[[NDArray[np.uint8]], list[tf.Tensor]] = tf.function(
            lambda chips: both(chips, training=False), input_signature=signature
        )
        return forward
