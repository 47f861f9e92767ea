"""A network of the user's own, built by a function that the parameter `network` names as `package.module:function`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator

import keras
import numpy as np
from keras import layers

from ml.errors import ConfigurationError

ADVICE = "docs/own-network.md says what the function must return."
PROBES = 2


def own_network(name: str) -> Callable[[int, int], keras.Model]:
    """Return the function that builds a network of the user's own and checks that it can be trained and served.

    Args:
        name: `package.module:function`. The function takes chip size and number of labels.

    Raises:
        ConfigurationError: The function cannot be imported. The returned function raises it too if building fails, or
            if the network is not of the kind that the rest of the program needs.
    """
    module, _, function = name.partition(":")
    try:
        build = getattr(importlib.import_module(module), function)
    except Exception as error:  # a module's own code can raise anything
        raise ConfigurationError(
            f"network = {name!r} cannot be imported: {type(error).__name__}: {error}",
            "Put its package onto the PYTHONPATH of every Airflow component and shell, and correct its code.",
        ) from error

    def built(chip_size: int, labels_count: int) -> keras.Model:
        try:
            network = build(chip_size, labels_count)
        except Exception as error:
            raise ConfigurationError(
                f"{name}({chip_size}, {labels_count}) failed: {type(error).__name__}: {error}", ADVICE
            ) from error
        if fault := next(_faults(network, chip_size, labels_count), None):
            raise ConfigurationError(f"The network of {name} cannot be used: {fault}.", ADVICE)
        return network

    return built


def _faults(network: object, chip_size: int, labels_count: int) -> Iterator[str]:
    """Yield what is wrong with a network; what follows a fault may fail, so only the first one counts."""
    if not isinstance(network, keras.Model) or not network.built:
        yield f"it is not a built keras.Model but {type(network).__name__}"
        return
    shapes = [(tensor.dtype, tuple(tensor.shape)) for tensor in network.inputs]
    if shapes != [("uint8", (None, chip_size, chip_size, 3))]:
        yield f"it takes {shapes} and not uint8 (None, {chip_size}, {chip_size}, 3)"
    if network.output_shape != (None, labels_count):
        yield f"it gives {network.output_shape} and not (None, {labels_count})"
    # The model must load wherever it is served, without the user's package and in Keras' safe mode.
    foreign = [layer.name for layer in _all_layers(network) if _is_foreign(layer)]
    if foreign:
        yield f"the layers {', '.join(foreign)} are not Keras' own, or are Lambda layers"
    yield from _faults_of_head(network, labels_count)
    if not any(len(layer.output.shape) == 4 and layer.output.shape[1] != 1 for layer in _feature_layers(network)):
        yield "no layer has a feature map (n, height, width, channels) to explain predictions with"
    chips = np.random.default_rng(0).integers(0, 256, (PROBES, chip_size, chip_size, 3), np.uint8)
    answers = np.asarray(network(chips, training=False))
    if not np.isfinite(answers).all() or not np.allclose(answers.sum(axis=1), 1.0, atol=1e-3) or (answers < 0).any():
        yield f"its outputs are not probabilities: {answers.tolist()}"


def _faults_of_head(network: keras.Model, labels_count: int) -> Iterator[str]:
    """Yield what is wrong with the end: the temperature is built into a last dense layer, which computes the logits."""
    rest = list(network.layers)
    while rest and not rest[-1].weights:
        layer = rest.pop()
        softmax = isinstance(layer, layers.Softmax) or getattr(layer, "activation", None) is keras.activations.softmax
        if not softmax:
            yield f"the layer {layer.name} stands after the dense layer with the logits and is not a softmax"
    head = rest[-1] if rest else None
    if not isinstance(head, layers.Dense) or head.units != labels_count:
        yield f"its last layer with weights is not Dense({labels_count})"
    elif head.activation not in (keras.activations.softmax, keras.activations.linear):
        yield f"the activation of {head.name} is neither softmax nor linear"


def _all_layers(network: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in network.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _all_layers(layer)


def _feature_layers(network: keras.Model) -> Iterator[keras.layers.Layer]:
    return (layer for layer in _all_layers(network) if not isinstance(layer, layers.InputLayer | keras.Model))


def _is_foreign(layer: keras.layers.Layer) -> bool:
    return type(layer).__module__.partition(".")[0] != "keras" or isinstance(layer, layers.Lambda)
