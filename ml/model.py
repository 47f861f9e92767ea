"""A trained model: what its attempt holds, and the one way in which it is loaded and asked.

An attempt of stage train holds `model.keras` (the network, scaling inside), `model.json` (`Description`) and
`reference.json`: a few validation chips with the probabilities that the model gave them when its training ended. Who
loads the model first predicts these chips again, so that swapped channels, double scaling or another model's file are
found before anything is predicted. `saved_model` and `model.onnx` are the same network, for others to serve.
"""

from __future__ import annotations

import base64
import tempfile
import textwrap
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from ml import images, storage
from ml.errors import DataError, LabelOrderError, PreprocessingError
from ml.export import write_exports
from ml.guards import check_label_order, check_pixels, check_probabilities, check_reference
from ml.manifests import Manifest, load_manifest

MODEL = "model.keras"
DESCRIPTION = "model.json"
REFERENCE = "reference.json"
BATCH_SIZE = 64
REFERENCE_CHIPS = 8
PERCEIVED_GENDER = "gender presentation as perceived by annotators; never identity"
OTHER_LABELS = "the label that annotators gave"


class Description(BaseModel):
    """What one must know to use a model.

    Attributes:
        labels: The labels in the order of the network's outputs.
        meaning: What the labels stand for.
        chip_size: Width and height of the chips that the network takes, in pixels.
        margin: Added around a face box before the chip is cut, as a share of the box's longer side.
        chip_class: The Open Images class whose boxes are cut out.
        network: The network's name in `ml.networks.NETWORKS`.
        parameters: Number of its parameters.
        best_epoch: The epoch, from 1, whose weights these are.
        validation: Loss, accuracy, faces and majority share on the validation split.
        features: URI of the features attempt that it learned from.
        temperature: By which the logits were divided, so that probabilities are calibrated on the validation split; the
            network has it inside already.
        threshold: The second label is given where its probability is at least this; chosen on the validation split.
    """

    model_config = ConfigDict(frozen=True)

    labels: list[str]
    meaning: str
    chip_size: int
    margin: float
    chip_class: str
    network: str
    parameters: int
    best_epoch: int
    validation: dict[str, float]
    features: str
    temperature: float = 1.0
    threshold: float = 0.5


class Classifier:
    """Gives chips the probabilities of the labels; all who predict do it by this class.

    Args:
        network: A trained network of `ml.networks`.
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
        check_label_order(manifest.metrics["labels"], description.labels, manifest.file(DESCRIPTION))
        if labels is not None:
            check_label_order(labels, description.labels, f"The model {manifest.uri}")
        classifier = cls(network, description)
        try:
            encoded, expected = read_reference(manifest)
            chips = np.stack([images.decode(chip) for chip in encoded])
        except (KeyError, TypeError, ValueError, FileNotFoundError) as error:
            raise DataError(
                f"{manifest.uri} holds no reference chips that can be read: {_reason(error)}",
                "Without them nothing shows that the model is what it was: train again.",
            ) from error
        check_reference(expected, classifier.predict(chips))
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


def write_model(uri: str, network: keras.Model, description: Description, candidates: NDArray[np.uint8]) -> Classifier:
    """Write a model's three files, and its exports, into its attempt.

    Args:
        uri: The attempt folder.
        network: The trained network.
        description: What belongs to it.
        candidates: Validation chips as training read them, shape (n, chip_size, chip_size, 3); those become the
            reference whose probabilities change most when red and blue are swapped.

    Returns:
        The model as it will be loaded.
    """
    classifier = Classifier(network, description)
    probabilities = classifier.predict(candidates)
    swapped = classifier.predict(candidates[..., ::-1])
    # A chip on which the network is sure, or which is grey, would not tell the swap from rounding.
    chosen = np.argsort(-np.abs(probabilities - swapped).max(axis=1), kind="stable")[:REFERENCE_CHIPS]
    chips = [images.encode_png(candidates[row]) for row in chosen]
    reference = [
        {"png": base64.b64encode(chip).decode(), "probabilities": [float(p) for p in probabilities[row]]}
        for chip, row in zip(chips, chosen, strict=True)
    ]
    storage.write_bytes(storage.join(uri, MODEL), network_bytes(network))
    storage.write_json(storage.join(uri, DESCRIPTION), description.model_dump(mode="json"))
    storage.write_json(storage.join(uri, REFERENCE), {"labels": description.labels, "chips": reference})
    write_exports(uri, network, description, chips, probabilities[chosen])
    return classifier


def read_reference(manifest: Manifest) -> tuple[list[bytes], NDArray[np.float64]]:
    """The reference chips of a model as PNG files, and their probabilities, shape (n, labels)."""
    chips: list[dict[str, Any]] = storage.read_json(manifest.file(REFERENCE))["chips"]
    return [base64.b64decode(chip["png"]) for chip in chips], np.array([chip["probabilities"] for chip in chips])


def load_network(uri: str) -> keras.Model:
    """Read a `.keras` file from any storage, without its optimiser; Keras' safe mode stays on: no code in it is run."""
    with storage.local_copy(uri) as path:
        return keras.models.load_model(path, compile=False, safe_mode=True)


def _reason(error: Exception) -> str:
    """What an error says, in a line: Keras puts the configuration of all layers before the cause."""
    return textwrap.shorten(str(error).rpartition("Exception encountered: ")[2], 500, placeholder=" ...")


def network_bytes(network: keras.Model) -> bytes:
    """A network as a `.keras` file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        network.save(path)
        return path.read_bytes()
