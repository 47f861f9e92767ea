"""A compact residual network that learns well on a CPU, the default."""

from __future__ import annotations

import keras
from keras import layers


def compact(chip_size: int | None, labels_count: int) -> keras.Model:
    """Build a small residual network (about 1.56 million parameters), made to learn on CPUs in little time.

    The shape is that of a residual network (He et al. 2015, arXiv:1512.03385) with two blocks for each of three sizes,
    shortcuts that average where they shrink (He et al. 2018, arXiv:1812.01187), and the mean over the whole chip in
    place of the notebook's dense layer, which holds 99% of that network's parameters.

    Args:
        chip_size: Width and height of the chips in pixels, at least 32; None for a network that takes any size.
        labels_count: Number of labels.

    Returns:
        A model from uint8 (n, chip_size, chip_size, 3) in 0..255 to float32 (n, labels_count), rows that sum to 1.
    """
    inputs = keras.Input((chip_size, chip_size, 3), dtype="uint8", name="pixels")
    x = layers.Rescaling(1 / 64, -127.5 / 64)(inputs)  # photographs come out with a deviation of about 1
    x = layers.ReLU()(_normalized(_convolution(x, 32, 3, 2)))
    x = layers.MaxPooling2D(2)(x)
    for filters, strides in ((48, 1), (96, 2), (192, 2)):
        x = _residual(x, filters, strides)
        x = _residual(x, filters, 1)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.3)(x)
    return keras.Model(inputs, layers.Dense(labels_count, activation="softmax")(x), name="compact")


def _residual(x: keras.KerasTensor, filters: int, strides: int) -> keras.KerasTensor:
    """Two convolutions beside a shortcut: (n, h, w, c) to (n, h / strides, w / strides, filters)."""
    shortcut = layers.AveragePooling2D(strides, padding="same")(x) if strides > 1 else x
    if shortcut.shape[-1] != filters:
        shortcut = _normalized(_convolution(shortcut, filters, 1, 1))
    x = layers.ReLU()(_normalized(_convolution(x, filters, 3, strides)))
    x = _normalized(_convolution(x, filters, 3, 1))
    return layers.ReLU()(layers.Add()([x, shortcut]))


def _convolution(x: keras.KerasTensor, filters: int, size: int, strides: int) -> keras.KerasTensor:
    # No bias: the normalization that follows has one.
    return layers.Conv2D(
        filters, size, strides=strides, padding="same", use_bias=False, kernel_initializer="he_normal"
    )(x)


def _normalized(x: keras.KerasTensor) -> keras.KerasTensor:
    # 0.9 in place of Keras' 0.99: some thousand faces are few steps an epoch, and validation reads the moving averages.
    return layers.BatchNormalization(momentum=0.9)(x)
