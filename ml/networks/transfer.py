"""Transfer networks: a backbone of keras.applications with a new head."""

from __future__ import annotations

import functools

import keras
import numpy as np
from keras import layers

from ml import storage
from ml.errors import ConfigurationError, ResourceError

BACKBONE = "backbone"  # name of the backbone's layer
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # red, green and blue, in 0..1


def transfer(name: str, chip_size: int, labels_count: int, weights: str = "imagenet") -> keras.Model:
    """Build a network on a backbone of `keras.applications`, which includes the backbone's preprocessing.

    Args:
        name: The backbone, such as `MobileNetV2`.
        chip_size: Width and height of the chips in pixels, at least 32.
        labels_count: Number of labels.
        weights: `imagenet` (Keras downloads them once), `none` (random), or path or URI of a file that the backbone,
            without its top, saved with `save_weights`.

    Returns:
        A model from uint8 (n, chip_size, chip_size, 3) in 0..255 to float32 (n, labels_count), rows that sum to 1. The
        batch statistics of a pretrained backbone stay fixed, even during fine-tuning.

    Raises:
        ResourceError: The ImageNet weights cannot be downloaded.
        ConfigurationError: The weights file is missing or does not fit the backbone.
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


def _preprocess(name: str, inputs: keras.KerasTensor) -> keras.KerasTensor:
    """Apply the backbone's `preprocess_input` as layers, so that it is saved with the network.

    ConvNeXt, EfficientNet and MobileNetV3 scale internally and take 0..255.
    """
    if name in ("MobileNet", "MobileNetV2") or (name.startswith("ResNet") and name.endswith("V2")):
        return layers.Rescaling(1 / 127.5, -1.0)(inputs)
    if name.startswith("DenseNet"):
        scale = [1 / (255 * value) for value in IMAGENET_DEVIATION]
        offset = [-m / d for m, d in zip(IMAGENET_MEAN, IMAGENET_DEVIATION, strict=True)]
        return layers.Rescaling(scale, offset)(inputs)
    if name.startswith(("ResNet", "VGG")):  # Caffe style: BGR, the mean of each channel subtracted
        return keras.ops.flip(layers.Rescaling(1.0, [-123.68, -116.779, -103.939])(inputs), axis=-1)
    return layers.Rescaling(1.0)(inputs)


def _build_backbone(name: str, chip_size: int, weights: str) -> keras.Model:
    """Build the backbone with the given weights, from (n, chip_size, chip_size, 3) to one vector per chip."""
    build = functools.partial(
        getattr(keras.applications, name), include_top=False, input_shape=(chip_size, chip_size, 3), pooling="avg"
    )
    if weights == "imagenet":
        try:
            # Keras must build and load in one call: with these weights EfficientNetB* have an extra layer.
            return build(weights="imagenet")
        except Exception as error:  # the download can raise any exception
            raise ResourceError(
                f"The ImageNet weights of {name} cannot be downloaded: {error}",
                "Set backbone_weights to a weights file or to none.",
            ) from error
    backbone = build(weights=None)
    if weights == "none":
        # Some backbones (MobileNetV2: 0.999) average batch statistics over thousands of batches, which suits ImageNet.
        # From random weights on a small data set, validation would stay at chance for dozens of epochs.
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
            "Use a file saved with `save_weights` from this backbone (include_top=False).",
        ) from error
    return backbone


def _scale_for_file(x: keras.KerasTensor, backbone: keras.Model) -> keras.KerasTensor:
    """Scale the input of an EfficientNetB* with weights from a file, as Keras does when it loads ImageNet's weights.

    Keras' ImageNet weights hold standard deviations where the backbone's normalization, (x - mean) / sqrt(variance),
    expects variances. Keras corrects this with a rescaling layer, 1 / sqrt(deviation), after the normalization. That
    layer has no weights, and Keras adds it only when it loads ImageNet's weights itself. This function corrects the
    input instead: scale * (x - mean) + mean, from which the normalization subtracts the mean.

    A normalization with mean 0 was never adapted: that backbone did not start from ImageNet's weights.
    """
    normalization = next(layer for layer in backbone.layers if isinstance(layer, layers.Normalization))
    mean = normalization.adapt_mean.numpy()
    if not mean.any():
        return x
    scale = 1 / np.sqrt(IMAGENET_DEVIATION)
    return layers.Rescaling(scale.tolist(), (255 * mean * (1 - scale)).tolist())(x)
