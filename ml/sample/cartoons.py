"""Draw scenes of cartoon portraits: one to four sitters side by side, or framed, or as a group."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from ml.sample.backgrounds import draw_background, light_scene
from ml.sample.geometry import Box, box_of
from ml.sample.pen import rgb
from ml.sample.people import SHOULDERS, Look, Portrait, draw_person

LONG_SIDE, SHORT_SIDE = 768, 576
LABELS = ("female", "male")


@dataclass(frozen=True)
class Sitter:
    """A person to draw: `label` is one of LABELS, `kind` is "portrait", "depiction" (framed) or "group" (of six)."""

    label: str
    child: bool = False
    kind: str = "portrait"


def draw_scene(rng: np.random.Generator, sitters: list[Sitter]) -> tuple[Image.Image, list[Portrait]]:
    """Draw one to four sitters side by side on a soft background.

    No face is inside the person box of a neighbor.

    Args:
        rng: Source of all randomness, used in the same way for either label.
        sitters: One to four sitters, from left to right.

    Returns:
        An upright RGB image, 768 x 576 or (with at most three sitters) 576 x 768 pixels, and the boxes of each sitter.

    Raises:
        ValueError: There are no sitters, or more than four.
    """
    if not 1 <= len(sitters) <= 4:
        raise ValueError(f"a scene holds one to four sitters, not {len(sitters)}")
    tall = rng.random() < 0.3 and len(sitters) < 4
    width, height = (SHORT_SIDE, LONG_SIDE) if tall else (LONG_SIDE, SHORT_SIDE)
    canvas = draw_background(rng, width, height)
    slot = canvas.width / len(sitters)
    portraits = [_place(rng, canvas, sitter, n * slot, slot) for n, sitter in enumerate(sitters)]
    return light_scene(rng, canvas), portraits


def _place(rng: np.random.Generator, canvas: Image.Image, sitter: Sitter, left: float, slot: float) -> Portrait:
    """Draw one sitter in the vertical strip of `canvas` that begins at `left` and is `slot` pixels wide."""
    room = 2 * (SHOULDERS + 0.3) if sitter.kind == "depiction" else 2 * (SHOULDERS + 0.1)
    unit = min(slot / room, canvas.height * 0.19) * rng.uniform(0.72, 1.0) * (0.8 if sitter.child else 1.0)
    spare = (slot - room * unit) / 2
    x = left + slot / 2 + rng.uniform(-spare, spare)
    y = rng.uniform(max(2.0 * unit, canvas.height * 0.3), canvas.height * (0.6 if sitter.child else 0.5))
    if sitter.kind == "portrait" and left == 0 and rng.random() < 0.06:
        x = 0.7 * unit  # the edge of the image cuts the face but spares the badge
    if sitter.kind == "group":
        return _group(rng, canvas, sitter.label, left + slot / 2, y, slot / 9)
    if sitter.kind == "depiction":
        y = min(y, canvas.height - 2.9 * unit)
        edges = (x - 1.75 * unit, y - 2.15 * unit, x + 1.75 * unit, y + 2.75 * unit)
        ImageDraw.Draw(canvas).rectangle(edges, fill=rgb("#5b3a1e"))
        rim = 0.13 * unit
        picture = (round(edges[0] + rim), round(edges[1] + rim), round(edges[2] - rim), round(edges[3] - rim))
        canvas.paste(rgb("#d9c9a8"), picture)
        portrait = draw_person(canvas, Look(rng), sitter.label, x, y, unit, picture[3])
        sepia = ImageOps.colorize(canvas.crop(picture).convert("L"), "#2b1a0d", "#f7ead0")
        canvas.paste(sepia, picture)
        frame = box_of(canvas, edges[0], edges[2], edges[1], edges[3])
        return replace(portrait, frame=frame.clip())
    return draw_person(canvas, Look(rng), sitter.label, x, y, unit, canvas.height)


def _group(rng: np.random.Generator, canvas: Image.Image, label: str, x: float, y: float, unit: float) -> Portrait:
    """Draw six touching people in two rows, with common boxes for all of them."""
    drawn = [
        draw_person(canvas, Look(rng), label, x + across * unit, y + down * unit, unit, canvas.height)
        for down, places in ((0.0, (-1.1, 1.1, 3.0)), (2.4, (-2.6, -0.2, 2.2)))
        for across in places
    ]
    face, person, clothing = (
        Box(*(choose(values) for choose, values in zip((min, max, min, max), zip(*boxes, strict=True), strict=True)))
        for boxes in ([p.face for p in drawn], [p.person for p in drawn], [p.clothing for p in drawn])
    )
    return Portrait(face, person, clothing, None, None, truncated=False)
