"""The networks that can be trained, by name, with their traits. All take raw uint8 chips and end in a softmax."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras

from ml.networks.compact import compact
from ml.networks.notebook import notebook
from ml.networks.transfer import transfer


@dataclass(frozen=True)
class Network:
    """A row of the table.

    Attributes:
        build: Builds it from chip size and number of labels; a family of backbones takes the backbone's name first, and
            the weights last.
        any_size: It can also be built for chips of any size (chip size None), so training may start on smaller chips.
        pretrained: It may start from weights, and is then fine-tuned.
    """

    build: Callable[..., keras.Model]
    any_size: bool = False
    pretrained: bool = False


NETWORKS: dict[str, Network] = {
    "compact": Network(compact, any_size=True),
    "notebook": Network(notebook),
    "transfer": Network(transfer, pretrained=True),
}


def find_network(name: str) -> Network:
    """Return the row of a network: of `NETWORKS` by its name, or of a family as `transfer:<backbone>`."""
    return NETWORKS[name.partition(":")[0]]


def build_network(name: str, chip_size: int | None, labels_count: int, weights: str = "imagenet") -> keras.Model:
    """Build the network of that name.

    Args:
        name: As in `find_network`.
        chip_size: Width and height of its input in pixels; None for any size, if the network has that trait.
        labels_count: Number of labels.
        weights: What a backbone starts from.
    """
    backbone = name.partition(":")[2]
    build = find_network(name).build
    return build(backbone, chip_size, labels_count, weights) if backbone else build(chip_size, labels_count)
