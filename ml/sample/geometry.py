"""Boxes in the order of Open Images."""

from __future__ import annotations

from typing import NamedTuple

from PIL import Image


class Box(NamedTuple):
    """A rectangle in fractions of the image's width and height, each in [0, 1], in the order of Open Images."""

    x_min: float
    x_max: float
    y_min: float
    y_max: float

    def clip(self, outer: Box | None = None) -> Box:
        """Return the part of the box inside `outer`, which defaults to the whole image."""
        left, right, top, bottom = outer or (0.0, 1.0, 0.0, 1.0)
        return Box(max(self.x_min, left), min(self.x_max, right), max(self.y_min, top), min(self.y_max, bottom))

    def turn(self, quarters: int) -> Box:
        """Return the box in the image rotated clockwise by `quarters` quarter turns."""
        box = self
        for _ in range(quarters):
            box = Box(1 - box.y_max, 1 - box.y_min, box.x_min, box.x_max)
        return box


def box_of(canvas: Image.Image, left: float, right: float, top: float, bottom: float) -> Box:
    return Box(left / canvas.width, right / canvas.width, top / canvas.height, bottom / canvas.height)
