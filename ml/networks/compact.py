"""The default network: compact, residual, and fast to train on a CPU."""

from __future__ import annotations

import keras
from keras import layers


def compact(chip_size: int | None, labels_count: int) -> keras.Model:
    """Build a small residual network (about 1.56 million parameters) that trains quickly on a CPU.

    It follows He et al. 2015 (arXiv:1512.03385) with two blocks at each of three sizes. Shortcuts average where they
    downsample (He et al. 2018, arXiv:1812.01187). A global average replaces the notebook's dense layer, which holds
    99% of that network's parameters. Each chip is normalized to mean 0 and variance 1, so that a dark photograph looks
    like a bright one.

    Args:
        chip_size: Width and height of the chips in pixels, at least 32; None builds a network for any size.
        labels_count: Number of labels.

    Returns:
        A model from uint8 (n, chip_size, chip_size, 3) in 0..255 to float32 (n, labels_count), rows that sum to 1.
    """
    inputs = keras.Input((chip_size, chip_size, 3), dtype="uint8", name="pixels")
    x = layers.Rescaling(1 / 64, -127.5 / 64)(inputs)  # gives photographs a standard deviation of about 1
    x = layers.GroupNormalization(groups=1, center=False, scale=False)(x)
    x = layers.ReLU()(_normalized(_convolution(x, 32, 3, 2)))
    x = layers.MaxPooling2D(2)(x)
    for filters, strides in ((48, 1), (96, 2), (192, 2)):
        x = _residual(x, filters, strides)
        x = _residual(x, filters, 1)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.3)(x)
    return keras.Model(inputs, layers.Dense(labels_count, activation="softmax")(x), name="compact")


def _residual(x: keras.KerasTensor, filters: int, strides: int) -> keras.KerasTensor:
    """Apply two convolutions with a shortcut: (n, h, w, c) to (n, h / strides, w / strides, filters)."""
    shortcut = layers.AveragePooling2D(strides, padding="same")(x) if strides > 1 else x
    if shortcut.shape[-1] != filters:
        shortcut = _normalized(_convolution(shortcut, filters, 1, 1))
    x = layers.ReLU()(_normalized(_convolution(x, filters, 3, strides)))
    x = _normalized(_convolution(x, filters, 3, 1))
    return layers.ReLU()(layers.Add()([x, shortcut]))


def _convolution(x: keras.KerasTensor, filters: int, size: int, strides: int) -> keras.KerasTensor:
    # The batch normalization that follows has a bias.
    return layers.Conv2D(
        filters, size, strides=strides, padding="same", use_bias=False, kernel_initializer="he_normal"
    )(x)


def _normalized(x: keras.KerasTensor) -> keras.KerasTensor:
    # Keras defaults to 0.99, too slow for a few thousand faces: an epoch has few steps, and validation uses the moving
    # averages.
    return layers.BatchNormalization(momentum=0.9)(x)
