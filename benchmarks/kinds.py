"""Kinds of photographs that differ from training's: how other sources show the same faces, and how detectors box them.

`KINDS` is the table. `SplitFaces` cuts the chips of a run's faces as a kind shows them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from ml.vision.images import Box, Pixels
    from ml.workflow.run import Run

NOISE_SEED = 1  # of the noise of every photograph, so that each call sees the same


def same(photo: Pixels) -> Pixels:
    """Return the photograph as it is."""
    return photo


@dataclass(frozen=True)
class Kind:
    """How the photographs of a kind differ.

    Attributes:
        name: Its name in the tables.
        scale: Factor of the sides of the face's box, about its center.
        shift: By which the box is shifted, as shares of its width and height.
        turn: Degrees, counterclockwise, by which the photograph is turned about the face.
        width: The width of the face's box in pixels to which the photograph is resized; None: as it is.
        change: What is done to the photograph's pixels then.
    """

    name: str
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    turn: float = 0.0
    width: int | None = None
    change: Callable[[Pixels], Pixels] = same


def compressed(photo: Pixels, quality: int) -> Pixels:
    """Compress a photograph as JPEG, and decode it again."""
    from ml.vision import images

    return images.decode(images.encode_jpeg(photo, quality))


def blurred(photo: Pixels, share: float) -> Pixels:
    """Blur a photograph by a Gaussian whose deviation is a share of its width."""
    return np.asarray(cv2.GaussianBlur(photo, (0, 0), photo.shape[1] * share), np.uint8)


def gray(photo: Pixels) -> Pixels:
    """Remove a photograph's colors."""
    return np.repeat(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def lit(photo: Pixels, gain: float, gamma: float = 1.0, noise: float = 0.0) -> Pixels:
    """Take light from a photograph.

    Args:
        photo: The photograph.
        gain: Factor of its light.
        gamma: Exponent of its light.
        noise: Standard deviation of the noise, of 255.
    """
    changed = 255 * gain * (photo / np.float32(255)) ** gamma
    if noise:
        changed += noise * np.random.default_rng(NOISE_SEED).standard_normal(photo.shape, np.float32)
    return np.clip(changed.round(), 0, 255).astype(np.uint8)


PLAIN = Kind("plain")
BOXES = tuple(Kind(f"box scaled by {scale}", scale=scale) for scale in (0.7, 0.8, 0.9, 1.1, 1.2, 1.3))
SHIFTS = (0.05, 0.1, 0.15)
TURNS = tuple(Kind(f"turned by {turn:+} degrees", turn=turn) for turn in (-15, 15))
WIDTHS = tuple(Kind(f"face {width} pixels wide", width=width) for width in (32, 48, 64, 96, 200, 400))
QUALITIES = tuple(Kind(f"JPEG quality {q}", change=partial(compressed, quality=q)) for q in (30, 50, 70, 95))
DARKENED = (
    Kind("darkened to a half", change=partial(lit, gain=0.5)),
    Kind("darkened to a quarter", change=partial(lit, gain=0.25)),
)
LIGHT = (
    Kind("gray", change=gray),
    *DARKENED,
    Kind("low light: a quarter, gamma 1.5, noise of 5", change=partial(lit, gain=0.25, gamma=1.5, noise=5)),
    Kind("noise of 15", change=partial(lit, gain=1.0, noise=15)),
)
BLURS = (
    Kind("blurred, Gaussian of 1% of the photograph's width", change=partial(blurred, share=0.01)),
    Kind("blurred, Gaussian of 2%", change=partial(blurred, share=0.02)),
)
WORN = Kind(
    "48 pixels wide, then JPEG quality 30 and a half of the light",
    width=48,
    change=lambda photo: compressed(lit(photo, 0.5), 30),
)
KINDS = (PLAIN, *BOXES, *TURNS, *WIDTHS, *QUALITIES, *LIGHT, *BLURS, WORN)


def shifted(share: float) -> tuple[Kind, ...]:
    """Return the four kinds whose boxes are shifted by a share of their sides: right, left, down, up."""
    return tuple(
        Kind(f"box shifted by {share:.0%}", shift=(share * x, share * y)) for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1))
    )


class SplitFaces:
    """The faces of a run's split, whose photographs can still be read.

    Args:
        run: A run with features and labels.
        split: The split.

    Attributes:
        truth: The index of each face's label.
        image_ids: The image of each face.
    """

    def __init__(self, run: Run, split: str) -> None:
        import pyarrow.dataset as ds

        from ml import storage
        from ml.features.reader import FeatureReader

        reader = FeatureReader(run.pinned("featurize"), split, columns=("face_id",))
        labels = {f: y for b in reader.batches(256) for f, y in zip(b.columns["face_id"], b.labels, strict=True)}
        table = ds.dataset([storage.local_path(uri) for uri in run.pinned("join_labels").table("faces")])
        self._run = run
        self._rows: list[dict[str, Any]] = [row for row in table.to_table().to_pylist() if row["face_id"] in labels]
        self.truth = np.array([labels[row["face_id"]] for row in self._rows])
        self.image_ids = np.array([row["image_id"] for row in self._rows])

    def photographs(self) -> Iterator[tuple[Pixels, Box, int]]:
        """Yield each face's photograph, box and rotation."""
        from ml.vision import images

        for row in self._rows:
            photo = images.decode(self._run.view.read_photograph(row["subset"], row["image_id"]))
            yield photo, (row["x_min"], row["x_max"], row["y_min"], row["y_max"]), row["rotation"] or 0

    def cut(self, kind: Kind, side: int, margin: float) -> tuple[Pixels, list[tuple[int, int, int, int]]]:
        """Return the faces as a kind shows them: their chips as the network takes them, and their boxes in pixels.

        Args:
            kind: The kind.
            side: Width and height of the chips.
            margin: Margin around a face, as a share of its box's longer side.
        """
        from ml.vision import images

        chips, boxes = [], []
        for photo, box, rotation in self.photographs():
            shown, (x_min, x_max, y_min, y_max) = show(photo, box, kind)
            height, width = shown.shape[:2]
            boxes.append((round(x_min * width), round(y_min * height), round(x_max * width), round(y_max * height)))
            chip = images.cut_chip(shown, (x_min, x_max, y_min, y_max), margin, rotation)
            chips.append(images.decode_chip(images.encode_jpeg(chip), side))
        return np.stack(chips), boxes


def show(photo: Pixels, box: Box, kind: Kind) -> tuple[Pixels, Box]:
    """Return a photograph as a kind shows it, and the face's box on it.

    Args:
        photo: The photograph.
        box: The face's box on it, as shares of width and height.
        kind: The kind.
    """
    x_min, x_max, y_min, y_max = box
    wide, high = x_max - x_min, y_max - y_min
    x, y = (x_min + x_max) / 2, (y_min + y_max) / 2
    height, width = photo.shape[:2]
    if kind.turn:
        about = cv2.getRotationMatrix2D((x * width - 0.5, y * height - 0.5), kind.turn, 1.0)
        photo = np.asarray(cv2.warpAffine(photo, about, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)
    if kind.width:
        factor = kind.width / (wide * width)
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        photo = np.asarray(cv2.resize(photo, size, interpolation=interpolation), np.uint8)
    x, y = x + kind.shift[0] * wide, y + kind.shift[1] * high
    half_x, half_y = kind.scale * wide / 2, kind.scale * high / 2
    return kind.change(photo), (x - half_x, x + half_x, y - half_y, y + half_y)
