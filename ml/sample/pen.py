"""Colors of the drawn scenes, and a pen that draws in the coordinates of a face."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

Color = tuple[int, int, int]


class Pen:
    """A pen that draws in face coordinates: the origin is at (x, y) pixels, and one unit is `unit` pixels."""

    def __init__(self, image: Image.Image, x: float, y: float, unit: float) -> None:
        self._draw = ImageDraw.Draw(image)
        self._x, self._y, self._unit = x, y, unit

    def _at(self, x: float, y: float) -> tuple[float, float]:
        return self._x + x * self._unit, self._y + y * self._unit

    def oval(self, x: float, y: float, rx: float, ry: float, fill: Color | int) -> None:
        self._draw.ellipse((*self._at(x - rx, y - ry), *self._at(x + rx, y + ry)), fill=fill)

    def block(self, x0: float, y0: float, x1: float, y1: float, fill: Color | int, round_by: float = 0.0) -> None:
        self._draw.rounded_rectangle((*self._at(x0, y0), *self._at(x1, y1)), round_by * self._unit, fill=fill)

    def shape(self, points: list[tuple[float, float]], fill: Color) -> None:
        self._draw.polygon([self._at(*point) for point in points], fill=fill)

    def stroke(self, points: list[tuple[float, float]], fill: Color, width: float) -> None:
        self._draw.line(
            [self._at(*p) for p in points], fill=fill, width=max(1, round(width * self._unit)), joint="curve"
        )

    def cap(self, height: float, half_angle: float, fill: Color) -> None:
        """Cover the top of a face; `height` is half the face's height."""
        box = (*self._at(-1, -height), *self._at(1, height))
        self._draw.chord(box, 270 - half_angle, 270 + half_angle, fill=fill)

    def lens(self, x: float, y: float, rx: float, ry: float, rounded: bool, color: Color) -> None:
        box, width = (*self._at(x - rx, y - ry), *self._at(x + rx, y + ry)), max(1, round(0.055 * self._unit))
        radius = self._unit * (min(rx, ry) if rounded else 0.08)
        self._draw.rounded_rectangle(box, radius, outline=color, width=width)


def rgb(code: str) -> Color:
    return int(code[1:3], 16), int(code[3:5], 16), int(code[5:7], 16)


def pick(rng: np.random.Generator, palette: tuple[str, ...]) -> Color:
    return rgb(palette[int(rng.integers(len(palette)))])


def mix(first: Color, second: Color, share: float) -> Color:
    """Return the color that is `share` of the way from the first to the second, with `share` in [0, 1]."""
    r, g, b = (round(a + (z - a) * share) for a, z in zip(first, second, strict=True))
    return r, g, b
