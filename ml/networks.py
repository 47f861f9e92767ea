"""The networks that can be trained: one table, name to builder. All take raw uint8 chips and end in a softmax."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import keras
import numpy as np
from keras import layers

from ml import storage
from ml.errors import ConfigurationError, ResourceError

BACKBONE = "backbone"  # name of the layer that holds a transfer network's backbone
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of red, green and blue in 0..1

# The report's model.summary() of its network: input 224 x 224 x 3, two labels.
NOTEBOOK_SIZE = 224
NOTEBOOK_PARAMETERS = 42_753_922
NOTEBOOK_NOT_TRAINABLE = 2_880


def notebook(chip_size: int, labels_count: int) -> keras.Model:
    """Build the original report's network (its SmallerVGGNet), the reference that others are compared with.

    Two things differ from the report, both without parameters: scaling to [0, 1] lies inside the network, and the two
    labels share a softmax, where two sigmoids gave confidences that did not sum to 1.

    Args:
        chip_size: Width and height of the chips in pixels; the report's were 224.
        labels_count: Number of labels; the report's were 2.

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
            raise AssertionError(f"the notebook's network has other parameters than the report states: {found}")
    return model


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
    x = layers.ReLU()(_normalised(_convolution(x, 32, 3, 2)))
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
        shortcut = _normalised(_convolution(shortcut, filters, 1, 1))
    x = layers.ReLU()(_normalised(_convolution(x, filters, 3, strides)))
    x = _normalised(_convolution(x, filters, 3, 1))
    return layers.ReLU()(layers.Add()([x, shortcut]))


def _convolution(x: keras.KerasTensor, filters: int, size: int, strides: int) -> keras.KerasTensor:
    # No bias: the normalisation that follows has one.
    return layers.Conv2D(
        filters, size, strides=strides, padding="same", use_bias=False, kernel_initializer="he_normal"
    )(x)


def _normalised(x: keras.KerasTensor) -> keras.KerasTensor:
    # 0.9 in place of Keras' 0.99: some thousand faces are few steps an epoch, and validation reads the moving averages.
    return layers.BatchNormalization(momentum=0.9)(x)


def transfer(name: str, chip_size: int, labels_count: int, weights: str = "imagenet") -> keras.Model:
    """Build a network on a backbone of `keras.applications`, with the backbone's own preprocessing inside.

    Args:
        name: The backbone, such as `MobileNetV2`.
        chip_size: Width and height of the chips in pixels, at least 32.
        labels_count: Number of labels.
        weights: `imagenet` (Keras downloads them once), `none` (random), or path or URI of a file that the backbone,
            without its top, wrote by `save_weights`.

    Returns:
        A model from uint8 (n, chip_size, chip_size, 3) in 0..255 to float32 (n, labels_count), rows that sum to 1. A
        pretrained backbone's batch statistics stay as they are, also while it is fine-tuned.

    Raises:
        ResourceError: The ImageNet weights cannot be downloaded.
        ConfigurationError: The weights file is absent or not of this backbone.
    """
    backbone = _build_backbone(name, chip_size, weights)
    backbone.name = BACKBONE
    inputs = keras.Input((chip_size, chip_size, 3), dtype="uint8", name="pixels")
    x = _preprocess(name, inputs)
    if weights not in ("none", "imagenet") and name.startswith("EfficientNetB"):
        x = _scale_for_file(x, backbone)
    x = backbone(x, training=None if weights == "none" else False)
    x = layers.Dropout(0.3)(x)
    return keras.Model(inputs, layers.Dense(labels_count, activation="softmax")(x), name=f"transfer_{name}")


def build_network(name: str, chip_size: int, labels_count: int, weights: str = "imagenet") -> keras.Model:
    """Build the network of that name: one of `NETWORKS`, or `transfer:<backbone>` with the given weights."""
    family, _, backbone = name.partition(":")
    if family == "transfer":
        return transfer(backbone, chip_size, labels_count, weights)
    return NETWORKS[name](chip_size, labels_count)


def _preprocess(name: str, inputs: keras.KerasTensor) -> keras.KerasTensor:
    """What `preprocess_input` of the backbone's module does, as layers, so that it is saved with the network.

    ConvNeXt, EfficientNet and MobileNetV3 scale inside and take 0..255.
    """
    if name in ("MobileNet", "MobileNetV2") or (name.startswith("ResNet") and name.endswith("V2")):
        return layers.Rescaling(1 / 127.5, -1.0)(inputs)
    if name.startswith("DenseNet"):
        scale = [1 / (255 * value) for value in IMAGENET_DEVIATION]
        offset = [-m / d for m, d in zip(IMAGENET_MEAN, IMAGENET_DEVIATION, strict=True)]
        return layers.Rescaling(scale, offset)(inputs)
    if name.startswith(("ResNet", "VGG")):  # Caffe's: BGR, each channel less its mean
        return keras.ops.flip(layers.Rescaling(1.0, [-123.68, -116.779, -103.939])(inputs), axis=-1)
    return layers.Rescaling(1.0)(inputs)


def _build_backbone(name: str, chip_size: int, weights: str) -> keras.Model:
    """The backbone with the given weights, from (n, chip_size, chip_size, 3) to one vector a chip."""
    build = functools.partial(
        getattr(keras.applications, name), include_top=False, input_shape=(chip_size, chip_size, 3), pooling="avg"
    )
    if weights == "imagenet":
        try:
            # By Keras as a whole: EfficientNetB* have a layer more with these weights than without.
            return build(weights="imagenet")
        except Exception as error:  # Keras passes on whatever the download raises
            raise ResourceError(
                f"The ImageNet weights of {name} cannot be downloaded: {error}",
                "Give a weights file by backbone_weights, or backbone_weights none.",
            ) from error
    backbone = build(weights=None)
    if weights == "none":
        # Some of Keras' backbones (MobileNetV2: 0.999) average their statistics over thousands of batches, as ImageNet
        # has them: from random weights, validation would be at chance for the first dozens of epochs of a small set.
        for layer in backbone.layers:
            if isinstance(layer, layers.BatchNormalization):
                layer.momentum = 0.9
        return backbone
    try:
        with storage.local_copy(weights) as path:
            backbone.load_weights(path)
    except FileNotFoundError as error:
        raise ConfigurationError(f"backbone_weights: there is no file {weights}.", "Correct the parameter.") from error
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"backbone_weights: {weights} does not fit {name} without its top: {error}",
            "Use a file that `save_weights` of this backbone wrote (include_top=False).",
        ) from error
    return backbone


def _scale_for_file(x: keras.KerasTensor, backbone: keras.Model) -> keras.KerasTensor:
    """Scale 0..255 for an EfficientNetB* whose weights came from a file, as Keras does when it loads ImageNet's itself.

    Those hold deviations where the backbone's normalisation, (x - mean) / sqrt(variance), wants variances. Keras makes
    up for it by a layer behind the normalisation, 1 / sqrt(deviation), that holds no weights and that no backbone built
    otherwise has. Here the same is done in front: scale * (x - mean) + mean, of which the normalisation takes the mean.

    A normalisation whose mean is 0 was never adapted: that backbone did not start from ImageNet's weights.
    """
    normalisation = next(layer for layer in backbone.layers if isinstance(layer, layers.Normalization))
    mean = normalisation.adapt_mean.numpy()
    if not mean.any():
        return x
    scale = 1 / np.sqrt(IMAGENET_DEVIATION)
    return layers.Rescaling(scale.tolist(), (255 * mean * (1 - scale)).tolist())(x)


NETWORKS: dict[str, Callable[..., keras.Model]] = {"compact": compact, "notebook": notebook}
