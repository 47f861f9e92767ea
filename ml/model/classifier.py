"""A trained model: what its attempt holds, and the one way in which it is loaded and asked.

An attempt of stage train holds `model.keras` (the network, scaling inside), `model.json` (`Description`) and
`reference.json`: a few validation chips with the probabilities that the model gave them when its training ended. Who
loads the model first predicts these chips again, so that swapped channels, double scaling or another model's file are
found before anything is predicted. `saved_model` and `model.onnx` are the same network, for others to serve.
"""

from __future__ import annotations

import textwrap
import zipfile
from collections.abc import Sequence
from typing import Self

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ml import storage
from ml.errors import DataError, LabelOrderError, PreprocessingError
from ml.guards import check_label_order, check_pixels, check_probabilities, check_reference
from ml.model.description import DESCRIPTION, Description
from ml.model.keras_file import MODEL, load_network
from ml.model.record import ModelLabels
from ml.model.reference import read_reference
from ml.workflow.manifest import Manifest, load_manifest

BATCH_SIZE = 64


class Classifier:
    """Gives chips the probabilities of the labels; all who predict do it by this class.

    Args:
        network: A trained network of `ml.networks.table`.
        description: What belongs to it.

    Raises:
        PreprocessingError: The network does not take the chips that the description states.
        LabelOrderError: It has another number of outputs than there are labels.
    """

    def __init__(self, network: keras.Model, description: Description) -> None:
        self.network = network
        self.description = description
        side = description.chip_size
        (pixels,) = network.inputs
        if (pixels.dtype, tuple(pixels.shape[1:])) != ("uint8", (side, side, 3)):
            given = f"{pixels.dtype} {tuple(pixels.shape[1:])}"
            raise PreprocessingError(
                f"The network takes {given}, its description says uint8 {(side, side, 3)}.",
                "The model's files do not belong together: train again.",
            )
        if (outputs := network.output_shape[-1]) != len(description.labels):
            raise LabelOrderError(
                f"The network has {outputs} outputs, its description names the labels {description.labels}.",
                "The model's files do not belong together: train again.",
            )
        # One trace for all sizes of batch.
        signature = [tf.TensorSpec((None, side, side, 3), tf.uint8)]
        self._forward = tf.function(lambda chips: network(chips, training=False), input_signature=signature)

    @classmethod
    def load(cls, source: Manifest | str, labels: Sequence[str] | None = None) -> Self:
        """Load a trained model, checked.

        Args:
            source: The attempt of stage train, as its manifest or its URI.
            labels: The order of labels by which the caller will read the probabilities, where it has one of its own.

        Raises:
            DataError: There is no such model, a file of it is damaged, or Keras does not know one of its layers.
            LabelOrderError: Two places disagree about the labels' order.
            PreprocessingError: The reference chips do not get the probabilities that they once got.
        """
        manifest = load_manifest(source) if isinstance(source, str) else source
        try:
            description = Description.model_validate_json(storage.read_bytes(manifest.file(DESCRIPTION)))
            network = load_network(manifest.file(MODEL))
        except (KeyError, TypeError, ValueError, OSError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{manifest.uri} holds no model that can be loaded: {_reason(error)}",
                f"Name a committed attempt of stage train, whose layers Keras {keras.__version__} knows.",
            ) from error
        check_label_order(manifest.record(ModelLabels).labels, description.labels, manifest.file(DESCRIPTION))
        if labels is not None:
            check_label_order(labels, description.labels, f"The model {manifest.uri}")
        classifier = cls(network, description)
        try:
            reference = read_reference(manifest)
            chips = reference.pixels
        except (KeyError, TypeError, ValueError, FileNotFoundError) as error:
            raise DataError(
                f"{manifest.uri} holds no reference chips that can be read: {_reason(error)}",
                "Without them nothing shows that the model is what it was: train again.",
            ) from error
        check_reference(reference.probabilities, classifier.predict(chips))
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
        """Give each chip the probability of each label.

        Args:
            pixels: uint8 RGB, shape (n, chip_size, chip_size, 3), 0..255, of any n.

        Returns:
            float32, shape (n, labels), rows that sum to 1.

        Raises:
            PreprocessingError: The chips are of another type or size, or were scaled.
            MetricsError: The network's outputs are no probabilities.
        """
        check_pixels(pixels, self.chip_size)
        parts = [
            self._forward(pixels[start : start + BATCH_SIZE]).numpy() for start in range(0, len(pixels), BATCH_SIZE)
        ]
        probabilities = np.concatenate(parts or [np.zeros((0, len(self.labels)), np.float32)])
        check_probabilities(probabilities)
        return probabilities


def _reason(error: Exception) -> str:
    """What an error says, in a line: Keras puts the configuration of all layers before the cause."""
    return textwrap.shorten(str(error).rpartition("Exception encountered: ")[2], 500, placeholder=" ...")
