"""Write a trained model: the Keras file, its description, its reference chips and its exports."""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ml import storage
from ml.guards import check_reference
from ml.model.classifier import MODEL, Classifier
from ml.model.description import DESCRIPTION, Description
from ml.model.onnx import ONNX, ask_onnx, export_onnx
from ml.model.reference import REFERENCE, REFERENCE_CHIPS
from ml.model.saved_model import SAVED_MODEL, ask_saved_model, export_saved_model
from ml.vision import images


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


def network_bytes(network: keras.Model) -> bytes:
    """A network as a `.keras` file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        network.save(path)
        return path.read_bytes()


def write_exports(
    uri: str, network: keras.Model, description: Description, chips: list[bytes], expected: NDArray[np.floating]
) -> None:
    """Write the SavedModel and the ONNX file into a model's attempt, once both answer as the network does.

    Args:
        uri: The attempt folder.
        network: The trained network.
        description: What belongs to it.
        chips: The model's reference chips as PNG files.
        expected: Their probabilities, shape (n, labels).

    Raises:
        PreprocessingError: An export gives a reference chip other probabilities.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        export_saved_model(network, description, folder / SAVED_MODEL)
        export_onnx(network, description, folder / ONNX)
        check_reference(expected, ask_saved_model(folder / SAVED_MODEL, description.labels, chips))
        pixels = np.stack([tf.io.decode_png(chip, channels=3).numpy() for chip in chips])
        check_reference(expected, ask_onnx(folder / ONNX, pixels))
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            storage.write_bytes(storage.join(uri, file.relative_to(folder).as_posix()), file.read_bytes())
