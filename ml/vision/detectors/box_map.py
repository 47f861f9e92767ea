"""Turn a detector's boxes into what the face boxes of training mean: detectors end at brows or hair, chin or neck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ml.vision.detectors.face import Edges, Face


@dataclass(frozen=True)
class BoxMap:
    """An affine map of boxes, fitted on faces whose boxes are known.

    Attributes:
        shift: By how much the center moves to the right and down, as shares of the detector's box.
        scale: Width and height of the mapped box, as shares of the detector's.
        source: What it was fitted on, and when; empty if boxes stay as they are.
        faces: On how many faces.
        spread: What the map leaves over those faces, as a standard deviation: of the center, right and down, as shares
            of the true box, and of the logarithms of width and height.
        aspect: Median height of their boxes as a share of the width; None if boxes stay as they are.
    """

    shift: tuple[float, float] = (0.0, 0.0)
    scale: tuple[float, float] = (1.0, 1.0)
    source: str = ""
    faces: int = 0
    spread: tuple[float, float, float, float] | None = None
    aspect: float | None = None

    def __call__(self, face: Face) -> Face:
        """Return a face with its box mapped."""
        left, top, right, bottom = face.box
        width, height = right - left, bottom - top
        x, y = (left + right) / 2 + self.shift[0] * width, (top + bottom) / 2 + self.shift[1] * height
        wide, high = width * self.scale[0] / 2, height * self.scale[1] / 2
        return replace(face, box=(x - wide, y - high, x + wide, y + high))

    def shaped(self, aspect: float | None) -> BoxMap:
        """Return the map for training boxes of another shape: as wide, but taller or lower.

        Three quarters of the difference are at the top. Square boxes of faces end at the brows and the chin; taller
        ones hold the forehead, and a little of the neck (docs/detection.md has the figures).

        Args:
            aspect: Height of the training boxes as a share of their width; None if it is not known.
        """
        if self.aspect is None or aspect is None:
            return self
        (right, down), (wide, high) = self.shift, self.scale
        taller = high * (aspect / self.aspect - 1)
        return replace(self, shift=(right, down - (ABOVE - 0.5) * taller), scale=(wide, high + taller), aspect=aspect)

    def describe(self) -> str:
        """Return the map as text, for reports."""
        if not self.source:
            return "boxes as the detector gives them"
        (right, down), (wide, high) = self.shift, self.scale
        shape = "" if self.aspect is None else f", for boxes {self.aspect:.2f} times as high as wide"
        return f"center {right:+.3f}, {down:+.3f} of the box, size x {wide:.3f}, {high:.3f}{shape}; {self.source}"


UNCHANGED = BoxMap()
ABOVE = 0.75  # the share of what boxes are taller that lies above the square box


def fit_box_map(pairs: Sequence[tuple[Edges, Edges]], source: str) -> BoxMap:
    """Fit the map on pairs of a detector's box and the true one: medians, which few wrong pairs do not move.

    Args:
        pairs: At least two pairs, in the same pixels.
        source: What the pairs come from.
    """
    from scipy.stats import median_abs_deviation  # only a fit needs it, and it loads slowly

    found, true = (np.array(boxes) for boxes in zip(*pairs, strict=True))
    sizes, true_sizes = found[:, 2:] - found[:, :2], true[:, 2:] - true[:, :2]
    offsets = ((true[:, 2:] + true[:, :2]) - (found[:, 2:] + found[:, :2])) / 2
    ratios = np.log(true_sizes / sizes)
    shift, ratio = np.median(offsets / sizes, axis=0), np.median(ratios, axis=0)
    left = (offsets - shift * sizes) / true_sizes
    # As a standard deviation, if the errors are normal; a few boxes matched with a neighbor's do not inflate it.
    spread = median_abs_deviation(np.hstack([left, ratios]), axis=0, scale="normal")
    return BoxMap(
        (round(float(shift[0]), 3), round(float(shift[1]), 3)),
        (round(float(np.exp(ratio[0])), 3), round(float(np.exp(ratio[1])), 3)),
        source,
        len(found),
        (
            round(float(spread[0]), 3),
            round(float(spread[1]), 3),
            round(float(spread[2]), 3),
            round(float(spread[3]), 3),
        ),
        round(float(np.median(true_sizes[:, 1] / true_sizes[:, 0])), 3),
    )
