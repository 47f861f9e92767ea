"""The table of networks, from name to builder. All take raw uint8 chips and end in a softmax."""

from __future__ import annotations

from collections.abc import Callable

import keras

from ml.networks.compact import compact
from ml.networks.notebook import notebook
from ml.networks.transfer import transfer


def build_network(name: str, chip_size: int, labels_count: int, weights: str = "imagenet") -> keras.Model:
    """Build a network by name: one of `NETWORKS`, or `transfer:<backbone>` with the given weights."""
    family, _, backbone = name.partition(":")
    if family == "transfer":
        return transfer(backbone, chip_size, labels_count, weights)
    return NETWORKS[name](chip_size, labels_count)


NETWORKS: dict[str, Callable[..., keras.Model]] = {"compact": compact, "notebook": notebook}
