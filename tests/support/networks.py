"""Cheap networks."""

from __future__ import annotations

import keras


def tiny(chip_size: int | None, labels_count: int) -> keras.Model:
    """Build a network that is cheap to trace and has what training must restore: batch statistics and dropout."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((chip_size, chip_size, 3), dtype="uint8"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.BatchNormalization(momentum=0.5),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.2),
            layers.Dense(labels_count, activation="softmax"),
        ]
    )
