"""Export a trained network to a SavedModel that takes encoded chips and decodes them as `ml.vision.images` does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ml.vision.images import STORED_SIDE

if TYPE_CHECKING:
    from ml.model.description import Description


SAVED_MODEL = "saved_model/1"  # TensorFlow Serving takes `saved_model`, and reads the number as a version
MAX_ASPECT = 1.2  # chips are square; a picture longer than this is a photograph that was not cut


def export_saved_model(network: keras.Model, description: Description, folder: Path) -> None:
    """Write a SavedModel whose signature `serving_default` takes chips as JPEG or PNG files.

    Its input `image_bytes` is a string tensor of shape (n,). Each label has an output under its own name: float32 of
    shape (n,), the label's probability. No caller can confuse the order of labels, and TensorFlow Serving returns
    `{"female": 0.1, "male": 0.9}` for each chip.

    A chip is an upright face with the model's margin around it, of any size. If it is not quite square, its border is
    repeated, as at a photograph's edge. A picture whose sides differ by more than a factor of 1.2 is refused with
    `InvalidArgumentError`, because it is not a chip. Transparency is ignored; 16 bits are reduced to 8.

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
            lambda encoded: decode_chip(encoded, side),
            image_bytes,
            fn_output_signature=tf.TensorSpec((side, side, 3), tf.uint8),
        )
        probabilities = network(chips, training=False)
        return {label: probabilities[:, index] for index, label in enumerate(description.labels)}

    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})


def decode_chip(encoded: tf.Tensor, side: int) -> tf.Tensor:
    """Decode a chip to uint8 RGB of shape (side, side, 3), as `ml.vision.images.decode_chip` does, in TensorFlow."""
    image = tf.cond(
        tf.io.is_jpeg(encoded),
        # simplejpeg uses the exact transform; TensorFlow's default is faster and off by a few levels.
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
    """Reduce an image by area averaging, rounded as in OpenCV; an image of that size is unchanged."""
    return tf.cast(tf.round(tf.image.resize(image, (side, side), "area")), tf.uint8)


def _enlarged(image: tf.Tensor, side: int) -> tf.Tensor:
    """Enlarge an image as OpenCV does on uint8: bilinear, in fixed point; an image of that size is unchanged.

    With TensorFlow's own arithmetic one in eight values would differ by 1, which a deep network can amplify.
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


def ask_saved_model(folder: Path, labels: list[str], chips: list[bytes]) -> NDArray[np.float32]:
    """Predict encoded chips with a SavedModel; return probabilities of shape (n, labels)."""
    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    found = signature(tf.constant(chips))
    return np.stack([found[label].numpy() for label in labels], axis=1)
