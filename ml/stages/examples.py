"""Examples of test faces: correct predictions, the most confident mistakes, and where the network looked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import keras
import numpy as np
from numpy.typing import NDArray

from ml.features.reader import Batch
from ml.metrics.decision import decide, given_confidence
from ml.model.grad_cam import grad_cam
from ml.vision import drawing, images

EXAMPLES, COLUMNS, TILE = 24, 6, 180
EXPLAINED = 9  # right faces, and as many wrong ones; each takes two tiles


@dataclass(frozen=True)
class Example:
    """A face for a contact sheet; the sheet shows the faces of the lowest rank."""

    rank: float
    pixels: images.Pixels
    caption: str
    image_id: str
    answer: int


@dataclass
class Examples:
    """Picks faces batch by batch, and keeps the pixels of these faces only.

    Attributes:
        labels: The labels by index.
        threshold: The second label is predicted where its probability is at least this.
        correct: Faces predicted as annotated, chosen by a digest of the face's id.
        wrong: Faces predicted otherwise, in order of falling confidence.
    """

    labels: Sequence[str]
    threshold: float
    correct: list[Example] = field(default_factory=list)
    wrong: list[Example] = field(default_factory=list)

    def add(self, batch: Batch, probabilities: NDArray[np.floating]) -> None:
        """Add a batch, read with columns face_id and image_id, and its probabilities of shape (n, 2)."""
        predicted = decide(probabilities, self.threshold)
        confidence = given_confidence(probabilities, predicted)
        for row, (truth, answer) in enumerate(zip(batch.labels, predicted, strict=True)):
            sure, face_id = float(confidence[row]), str(batch.columns["face_id"][row])
            wrong = truth != answer
            rank = -sure if wrong else float(int(hashlib.sha256(face_id.encode()).hexdigest()[:12], 16))
            examples = self.wrong if wrong else self.correct
            if len(examples) == EXAMPLES and rank >= examples[-1].rank:
                continue
            image_id = str(batch.columns["image_id"][row])
            caption = f"annotated {self.labels[truth]}\npredicted {self.labels[answer]} {sure:.1%}\n{image_id}"
            # A copy: a view would keep the whole batch in memory.
            examples.append(Example(rank, batch.pixels[row].copy(), caption, image_id, int(answer)))
            examples.sort(key=lambda example: example.rank)
            del examples[EXAMPLES:]

    @property
    def image_ids(self) -> list[str]:
        """The image ids of all faces shown."""
        return [example.image_id for example in (*self.correct, *self.wrong)]

    def sheets(self, network: keras.Model) -> dict[str, bytes]:
        """Return contact sheets as PNG files by name.

        The sheets are `correct` and `wrong`, and with the network's heat maps `grad_cam_correct` and `grad_cam_wrong`;
        a sheet without faces is left out.
        """
        found = {}
        for name, examples in (("correct", self.correct), ("wrong", self.wrong)):
            if examples:
                found[name] = _sheet([(example.pixels, example.caption) for example in examples])
                found[f"grad_cam_{name}"] = self._explained(network, examples[:EXPLAINED])
        return found

    def _explained(self, network: keras.Model, examples: Sequence[Example]) -> bytes:
        answers = np.array([example.answer for example in examples])
        heats = grad_cam(network, np.stack([example.pixels for example in examples]), answers)
        tiles = []
        for example, heat in zip(examples, heats, strict=True):
            tiles.append((example.pixels, example.caption))
            note = "" if heat.any() else "\n(no area does)"
            tiles.append((drawing.heat_overlay(example.pixels, heat), f"supports\n{self.labels[example.answer]}{note}"))
        return _sheet(tiles)


def _sheet(tiles: Sequence[tuple[images.Pixels, str]]) -> bytes:
    return images.encode_png(drawing.contact_sheet(tiles, COLUMNS, TILE))
