"""Reference chips stored with a model, to verify that it still predicts what it predicted after training."""

from __future__ import annotations

import base64

import numpy as np
from numpy.typing import NDArray

from ml import storage
from ml.flow.record import Record
from ml.vision import images
from ml.workflow.manifest import Manifest

REFERENCE = "reference.json"
REFERENCE_CHIPS = 8


class ReferenceChip(Record):
    """A chip, as a PNG file in base64, and the probabilities that the model predicted for it after training."""

    png: str
    probabilities: list[float]


class Reference(Record):
    """The contents of `reference.json`: the labels in the order of the probabilities, and the chips."""

    labels: list[str]
    chips: list[ReferenceChip]

    @property
    def files(self) -> list[bytes]:
        """The chips as PNG files."""
        return [base64.b64decode(chip.png) for chip in self.chips]

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The chips decoded, shape (n, side, side, 3)."""
        return np.stack([images.decode(file) for file in self.files])

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """The chips' probabilities, shape (n, labels)."""
        return np.array([chip.probabilities for chip in self.chips])


def choose_reference(
    labels: list[str],
    candidates: NDArray[np.uint8],
    probabilities: NDArray[np.floating],
    swapped: NDArray[np.floating],
) -> Reference:
    """Choose the chips that best reveal whether red and blue are swapped.

    On a gray chip, or one that the network is sure about, a swap would look like rounding.

    Args:
        labels: In the order of the probabilities.
        candidates: Chips, shape (n, side, side, 3).
        probabilities: The model's probabilities for the candidates, shape (n, labels).
        swapped: The model's probabilities with red and blue swapped.
    """
    chosen = np.argsort(-np.abs(probabilities - swapped).max(axis=1), kind="stable")[:REFERENCE_CHIPS]
    chips = [
        ReferenceChip(
            png=base64.b64encode(images.encode_png(candidates[row])).decode(),
            probabilities=[float(p) for p in probabilities[row]],
        )
        for row in chosen
    ]
    return Reference(labels=labels, chips=chips)


def read_reference(manifest: Manifest) -> Reference:
    """Read a model's reference chips."""
    return Reference.model_validate_json(storage.read_bytes(manifest.file(REFERENCE)))
