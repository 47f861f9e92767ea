"""A trained network in the formats that others serve: a SavedModel and an ONNX file, both checked before they are kept.

The SavedModel takes encoded chips and does in its graph what `ml.images` does in Python: decode, resize, round. The
ONNX file takes raw uint8 chips, as `model.keras` does, since ONNX has no JPEG decoder. The check is by the model's
reference chips, PNG files of the network's size; that JPEG files and chips of other sizes agree too is held by tests.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ml import storage
from ml.guards import check_reference
from ml.images import STORED_SIDE

if TYPE_CHECKING:
    from ml.model import Description

SAVED_MODEL = "saved_model/1"  # TensorFlow Serving is given `saved_model`, and takes the number for a version
ONNX = "model.onnx"
MAX_ASPECT = 1.2  # a chip is square; a picture longer than this is a photograph, whose face nobody has cut out
OUTPUT = "probabilities"


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


def export_saved_model(network: keras.Model, description: Description, folder: Path) -> None:
    """Write a SavedModel whose signature `serving_default` takes chips as JPEG or PNG files.

    Its input `image_bytes` is a string tensor of shape (n,). It has one output a label, under the label's name: float32
    of shape (n,), the label's probability; so there is no order of labels to mistake, and TensorFlow Serving answers
    `{"female": 0.1, "male": 0.9}` for each chip.

    A chip is a face with the model's margin around it, upright, of any size. Where it is not quite square its border is
    repeated, as at a photograph's edge; one more than 1.2 times as long as wide (or as wide as long) is refused with
    `InvalidArgumentError`, since it is no chip. Transparency is ignored, 16 bits are cut to 8.

    Args:
        network: The trained network.
        description: Its labels and the size of its chips.
        folder: The folder to write.
    """
    side = description.chip_size
    module = tf.Module()
    module.network = network

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="image_bytes")])
    def serve(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        chips = tf.map_fn(
            lambda encoded: tensor(encoded, side),
            image_bytes,
            fn_output_signature=tf.TensorSpec((side, side, 3), tf.uint8),
        )
        probabilities = network(chips, training=False)
        return {label: probabilities[:, index] for index, label in enumerate(description.labels)}

    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})


def tensor(encoded: tf.Tensor, side: int) -> tf.Tensor:
    """`ml.images.tensor` as a TensorFlow graph: an encoded chip to uint8 RGB of shape (side, side, 3)."""
    image = tf.cond(
        tf.io.is_jpeg(encoded),
        # The exact transform is that of simplejpeg; TensorFlow's own choice is a faster one, some levels off.
        lambda: tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_png(encoded, channels=3),
    )
    image = _squared(image)
    longest = tf.shape(image)[0]
    image = tf.cond(longest > STORED_SIDE, lambda: _reduced(image, STORED_SIDE), lambda: image)
    image = tf.cond(longest > side, lambda: _reduced(image, side), lambda: _enlarged(image, side))
    return tf.ensure_shape(image, (side, side, 3))


def _squared(image: tf.Tensor) -> tf.Tensor:
    """Repeat the border on both sides of the shorter edge until the image is square."""
    shape = tf.shape(image)
    height, width = shape[0], shape[1]
    side = tf.maximum(height, width)
    tf.debugging.assert_less_equal(
        tf.cast(side, tf.float32),
        MAX_ASPECT * tf.cast(tf.minimum(height, width), tf.float32),
        "a chip is square: cut the face out of the photograph, with the model's margin around it",
    )
    for axis, length in enumerate((height, width)):
        places = tf.range(side) - (side - length) // 2
        image = tf.gather(image, tf.clip_by_value(places, 0, length - 1), axis=axis)
    return image


def _reduced(image: tf.Tensor, side: int) -> tf.Tensor:
    """The image reduced by area averaging, rounded as OpenCV does; one of that size already is left as it is."""
    return tf.cast(tf.round(tf.image.resize(image, (side, side), "area")), tf.uint8)


def _enlarged(image: tf.Tensor, side: int) -> tf.Tensor:
    """The image enlarged as OpenCV does it on uint8: bilinear, in fixed point; one of that size is left as it is.

    By TensorFlow's own arithmetic one in eight values would be another by 1, of which a deep network makes more than a
    rounding.
    """
    length = tf.shape(image)[0]
    place = (tf.range(side, dtype=tf.float64) + 0.5) * tf.cast(length, tf.float64) / side - 0.5
    place = tf.cast(place, tf.float32)
    first = tf.floor(place)
    share = place - first
    low, high = (tf.clip_by_value(tf.cast(first, tf.int32) + step, 0, length - 1) for step in (0, 1))
    of_low, of_high = (tf.cast(tf.round(weight * 2048), tf.int32)[:, None] for weight in (1 - share, share))
    values = tf.cast(image, tf.int32)
    rows = tf.gather(values, low, axis=1) * of_low + tf.gather(values, high, axis=1) * of_high
    rows = tf.bitwise.right_shift(rows, 4)
    above, below = (
        tf.bitwise.right_shift(tf.gather(rows, index) * weight[:, None], 16)
        for index, weight in ((low, of_low), (high, of_high))
    )
    return tf.cast(tf.bitwise.right_shift(above + below + 2, 2), tf.uint8)


def export_onnx(network: keras.Model, description: Description, file: Path) -> None:
    """Write an ONNX file: uint8 `pixels` (batch, side, side, 3) to float32 `probabilities` (batch, labels).

    The file's metadata hold `labels`, a JSON list in the order of the probabilities' columns, and `margin`.

    Args:
        network: The trained network.
        description: Its labels and the size of its chips.
        file: The file to write.
    """
    import onnx

    side = description.chip_size
    signature = [tf.TensorSpec((None, side, side, 3), tf.uint8, name="pixels")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Keras asks numpy for a name that is about to return
        network.export(file, format="onnx", verbose=False, input_signature=signature)
    model = onnx.load(file)
    (output,) = model.graph.output  # tf2onnx calls it by the name of a TensorFlow operation
    for node in model.graph.node:
        node.output[:] = [OUTPUT if name == output.name else name for name in node.output]
        node.input[:] = [OUTPUT if name == output.name else name for name in node.input]
    output.name = OUTPUT
    for value in (*model.graph.input, output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.helper.set_model_props(model, {"labels": json.dumps(description.labels), "margin": str(description.margin)})
    onnx.checker.check_model(model)
    onnx.save(model, file)


def ask_saved_model(folder: Path, labels: list[str], chips: list[bytes]) -> NDArray[np.float32]:
    """The probabilities that a SavedModel gives encoded chips, shape (n, labels)."""
    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    found = signature(tf.constant(chips))
    return np.stack([found[label].numpy() for label in labels], axis=1)


def ask_onnx(file: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The probabilities that an ONNX file gives uint8 chips of shape (n, side, side, 3), shape (n, labels)."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return np.asarray(session.run([OUTPUT], {"pixels": pixels})[0], np.float32)
