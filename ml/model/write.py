"""Write a trained model: the Keras file, its description, its reference chips and its exports."""

from __future__ import annotations

import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ml import storage
from ml.guards import check_reference
from ml.model.classifier import Classifier
from ml.model.description import DESCRIPTION, Description
from ml.model.keras_file import MODEL, network_bytes
from ml.model.onnx import ask_onnx, export_onnx
from ml.model.onnx_classifier import ONNX
from ml.model.reference import REFERENCE, Reference, choose_reference
from ml.model.saved_model import SAVED_MODEL, ask_saved_model, export_saved_model


def write_model(uri: str, network: keras.Model, description: Description, candidates: NDArray[np.uint8]) -> Classifier:
    """Write a model's three files, and its exports, into its attempt.

    Args:
        uri: The attempt folder.
        network: The trained network.
        description: The model's description.
        candidates: Validation chips as training read them, shape (n, chip_size, chip_size, 3). Those whose
            probabilities change most when red and blue are swapped become the reference.

    Returns:
        The model as it will be loaded.
    """
    classifier = Classifier(network, description)
    probabilities = classifier.predict(candidates)
    swapped = classifier.predict(candidates[..., ::-1])
    reference = choose_reference(description.labels, candidates, probabilities, swapped)
    storage.write_bytes(storage.join(uri, MODEL), network_bytes(network))
    storage.write_json(storage.join(uri, DESCRIPTION), description.model_dump(mode="json"))
    storage.write_json(storage.join(uri, REFERENCE), reference.json_values())
    write_exports(uri, network, description, reference)
    return classifier


def write_exports(uri: str, network: keras.Model, description: Description, reference: Reference) -> None:
    """Write the SavedModel and the ONNX file into a model's attempt, after checking their predictions.

    Args:
        uri: The attempt folder.
        network: The trained network.
        description: The model's description.
        reference: The model's reference chips.

    Raises:
        PreprocessingError: An export predicts other probabilities for a reference chip than the network.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        export_saved_model(network, description, folder / SAVED_MODEL)
        export_onnx(network, description, folder / ONNX)
        files, expected = reference.files, reference.probabilities
        check_reference(expected, ask_saved_model(folder / SAVED_MODEL, description.labels, files))
        pixels = np.stack([tf.io.decode_png(file, channels=3).numpy() for file in files])
        check_reference(expected, ask_onnx(folder / ONNX, pixels))
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            storage.write_bytes(storage.join(uri, file.relative_to(folder).as_posix()), file.read_bytes())
