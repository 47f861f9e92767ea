"""The networks that can be trained, by name, with their traits. All take raw uint8 chips and end in a softmax.

The parameter `network` lists the same names in `ml.config.training`, which loads no Keras; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras

from ml.networks.compact import compact
from ml.networks.notebook import notebook
from ml.networks.own import own_network
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
    """Return the row of a network: of `NETWORKS` by its name, of a family as `transfer:<backbone>`, or of a user's own.

    Raises:
        ConfigurationError: A network of the user's own, `package.module:function`, cannot be imported.
    """
    family, _, function = name.partition(":")
    return NETWORKS[family] if family in NETWORKS or not function else Network(own_network(name))


def build_network(name: str, chip_size: int | None, labels_count: int, weights: str = "imagenet") -> keras.Model:
    """Build the network of that name.

    Args:
        name: As in `find_network`.
        chip_size: Width and height of its input in pixels; None for any size, if the network has that trait.
        labels_count: Number of labels.
        weights: What a backbone starts from.
    """
    network = find_network(name)
    if network.pretrained:
        return network.build(name.partition(":")[2], chip_size, labels_count, weights)
    return network.build(chip_size, labels_count)
