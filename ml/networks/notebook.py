"""The network of the original notebook, kept as the reference."""

from __future__ import annotations

import math

import keras
from keras import layers

# The report's model.summary() of its network: input 224 x 224 x 3, two labels.
NOTEBOOK_SIZE = 224
NOTEBOOK_PARAMETERS = 42_753_922
NOTEBOOK_NOT_TRAINABLE = 2_880


def notebook(chip_size: int, labels_count: int) -> keras.Model:
    """Build the original report's network (its SmallerVGGNet), the reference that others are compared with.

    It differs from the report in two layers without parameters: the network scales its input to [0, 1] itself, and a
    softmax replaces the two sigmoids, whose confidences did not sum to 1.

    Args:
        chip_size: Width and height of the chips in pixels; 224 in the report.
        labels_count: Number of labels; 2 in the report.

    Returns:
        A model from uint8 (n, chip_size, chip_size, 3) in 0..255 to float32 (n, labels_count), rows that sum to 1.
    """

    def convolution(filters: int) -> list[layers.Layer]:
        return [layers.Conv2D(filters, 3, padding="same"), layers.ReLU(), layers.BatchNormalization()]

    model = keras.Sequential(
        [
            keras.Input((chip_size, chip_size, 3), dtype="uint8", name="pixels"),
            layers.Rescaling(1 / 255),
            *convolution(32),
            layers.MaxPooling2D(3),
            layers.Dropout(0.25),
            *convolution(64),
            *convolution(64),
            layers.MaxPooling2D(2),
            layers.Dropout(0.25),
            *convolution(128),
            *convolution(128),
            layers.MaxPooling2D(2),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(1024),
            layers.ReLU(),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Dense(labels_count),
            layers.Softmax(),
        ],
        name="notebook",
    )
    if (chip_size, labels_count) == (NOTEBOOK_SIZE, 2):
        not_trainable = sum(math.prod(weight.shape) for weight in model.non_trainable_weights)
        found = (model.count_params(), not_trainable)
        if found != (NOTEBOOK_PARAMETERS, NOTEBOOK_NOT_TRAINABLE):
            raise AssertionError(f"the notebook's network does not have the parameters that the report states: {found}")
    return model
