"""Export a trained network to ONNX; like `model.keras` it takes raw uint8 chips, because ONNX has no JPEG decoder."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ml.model.onnx_classifier import FEATURES, INPUT, OUTPUT
from ml.model.penultimate import with_features

if TYPE_CHECKING:
    from ml.model.description import Description


def export_onnx(network: keras.Model, description: Description, file: Path) -> None:
    """Write an ONNX file: uint8 `pixels` (batch, side, side, 3) to float32 `probabilities` (batch, labels).

    A second output, `features` (batch, width), is what the network's last layer with weights is given.
    The file's metadata hold `labels`, a JSON list in the order of the probabilities' columns, and `margin`.

    Args:
        network: The trained network.
        description: Its labels and the size of its chips.
        file: The file to write.
    """
    import onnx

    side = description.chip_size
    signature = [tf.TensorSpec((None, side, side, 3), tf.uint8, name=INPUT)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Keras uses a numpy name whose meaning will change
        with_features(network).export(file, format="onnx", verbose=False, input_signature=signature)
    model = onnx.load(file)
    # tf2onnx names the outputs after TensorFlow operations.
    names = dict(zip((output.name for output in model.graph.output), (OUTPUT, FEATURES), strict=True))
    for node in model.graph.node:
        node.output[:] = [names.get(name, name) for name in node.output]
        node.input[:] = [names.get(name, name) for name in node.input]
    for output in model.graph.output:
        output.name = names[output.name]
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.helper.set_model_props(model, {"labels": json.dumps(description.labels), "margin": str(description.margin)})
    onnx.checker.check_model(model)
    onnx.save(model, file)


def ask_onnx(file: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Predict uint8 chips of shape (n, side, side, 3) with an ONNX file; return probabilities of shape (n, labels)."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return np.asarray(session.run([OUTPUT], {INPUT: pixels})[0], np.float32)
