"""Draw a cartoon person whose label is visible only in one abstract figure.

The sample release needs faces that a small network can learn from and that say nothing about how people look. So every
face has a round badge on its forehead, and only the badge shows the label: a **ring** for `female`, a **cross** for
`male`. Everything else (skin, hair, clothes, glasses, expression, colors, light) is random and independent of the
label. The figure survives flips, shifts and rotations. Ring and cross cover the same area, so the mean color does not
reveal the label.

A *unit* below is half the width of a face. Face coordinates have their origin at the center of the face, with x to the
right and y down.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, hypot, pi, radians, sin

import numpy as np
from PIL import Image, ImageChops

from ml.sample.geometry import Box, box_of
from ml.sample.pen import Pen, mix, pick

FINE = 2  # people are drawn larger by this factor and then reduced, for smooth edges
SHOULDERS = 1.5  # half the width of a person, in units
FAINT_SHARE = 0.04  # share of faces with an almost invisible figure, so that no classifier is perfect

# fmt: off
SKINS = ("#f6d9c4", "#eec1a0", "#dca67e", "#c98e62", "#a9714a", "#8a5636", "#693f27", "#4d2d1e")
HAIRS = ("#1d1815", "#3b2619", "#6a4426", "#a06c36", "#d5ac5d", "#b4492b", "#8f8f92", "#e3e0da", "#2f6f78", "#7b4f91")
CLOTHES = ("#34577c", "#7c3444", "#3e6b4f", "#d39b3c", "#6b5b95", "#c8553d", "#4a4e57", "#dcd6c8", "#2a9d8f", "#d88ca0")
PAPERS = ("#fff8e1", "#e8f4fd", "#f3e9fb", "#e9f7e4", "#ffeceb", "#f2f2f2")
INKS = ("#1a237e", "#7a1020", "#0f4d2a", "#3d1560", "#202020", "#5a3200")
EYES = ("#3a2a1c", "#4a6b8a", "#5c7a4a", "#6b4a2a")
# fmt: on
PATTERNS = ("plain", "stripes", "dots")
HAIR_STYLES = ("none", "short", "round", "curly", "long", "bun")


@dataclass(frozen=True)
class Portrait:
    """The boxes of a drawn sitter; the face is inside the person. `truncated` if an edge of the image cuts the face."""

    face: Box
    person: Box
    clothing: Box
    glasses: Box | None
    frame: Box | None
    truncated: bool


class Look:
    """The random looks of one person, independent of the label; lengths in units, angles in degrees."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.skin, self.hair, self.eyes = pick(rng, SKINS), pick(rng, HAIRS), pick(rng, EYES)
        self.hair_style = HAIR_STYLES[int(rng.integers(len(HAIR_STYLES)))]
        self.fringe, self.mouth_open, self.glasses, self.round_glasses = rng.random(4) < (0.5, 0.3, 0.3, 0.5)
        self.clothes, self.trim = pick(rng, CLOTHES), pick(rng, CLOTHES)
        self.pattern = PATTERNS[int(rng.integers(len(PATTERNS)))]
        self.brow, self.gaze, self.smile = rng.uniform((-0.06, -0.05, -0.07), (0.06, 0.05, 0.22))
        self.light = int(rng.choice([-1, 1]))
        self.height, self.tilt = rng.uniform((1.14, -10), (1.36, 10))
        self.badge_x, self.badge_y, self.spin = rng.uniform((-0.22, -0.04, 0), (0.22, 0.02, 90))
        self.paper, ink = pick(rng, PAPERS), pick(rng, INKS)
        self.ink = mix(self.paper, ink, 0.06) if rng.random() < FAINT_SHARE else ink


def draw_person(canvas: Image.Image, look: Look, label: str, x: float, y: float, unit: float, floor: float) -> Portrait:
    """Draw body and head with the face centered on (x, y) pixels; the body ends at the height `floor`."""
    _body(canvas, look, x, y, unit, floor)
    side = round(unit * 4)
    head, mask = Image.new("RGB", (side * FINE, side * FINE), look.hair), Image.new("L", (side * FINE, side * FINE))
    _head(head, mask, look, label, unit * FINE)
    canvas.paste(_tilt(head, look.tilt), (round(x) - side // 2, round(y) - side // 2), _tilt(mask, look.tilt))

    tilt, tall = radians(look.tilt), look.height
    across, down = hypot(cos(tilt), tall * sin(tilt)) * unit, hypot(sin(tilt), tall * cos(tilt)) * unit
    face = box_of(canvas, x - across, x + across, y - down, y + down)
    crown = tall + (0.55 if look.hair_style == "bun" else 0.2)
    person = box_of(canvas, x - SHOULDERS * unit, x + SHOULDERS * unit, y - crown * unit, floor)
    clothing = box_of(canvas, x - SHOULDERS * unit, x + SHOULDERS * unit, y + (tall + 0.25) * unit, floor)
    glasses = (
        box_of(canvas, x - 0.85 * unit, x + 0.85 * unit, y - 0.25 * unit, y + 0.4 * unit) if look.glasses else None
    )
    cut = face.clip() != face
    return Portrait(face.clip(), person.clip(), clothing.clip(), glasses and glasses.clip(), None, truncated=cut)


def _tilt(tile: Image.Image, degrees: float) -> Image.Image:
    """Rotate a square tile about its center and reduce it by FINE in one step; each pixel is a mean of four."""
    side = tile.width // FINE
    c, s = cos(radians(degrees)) * FINE, sin(radians(degrees)) * FINE
    rows = (c, s, (tile.width - (c + s) * side) / 2, -s, c, (tile.width - (c - s) * side) / 2)
    return tile.transform((side, side), Image.Transform.AFFINE, rows, Image.Resampling.BILINEAR)


def _body(canvas: Image.Image, look: Look, x: float, y: float, unit: float, floor: float) -> None:
    """Draw neck, shoulders and clothes down to `floor`."""
    top = look.height + 0.28  # the shoulders' height, in units below the center of the face
    left, upper = round(x - 1.6 * unit), round(y)
    size = (round(3.2 * unit) * FINE, max(1, round(floor - y)) * FINE)
    cloth, shape = Image.new("RGB", size, look.clothes), Image.new("L", size)
    pen, outline = (Pen(tile, (x - left) * FINE, (y - upper) * FINE, unit * FINE) for tile in (cloth, shape))
    bottom = (floor - y) / unit
    outline.oval(0, top + 0.85, SHOULDERS, 0.85, 255)
    outline.block(-SHOULDERS, top + 0.85, SHOULDERS, max(bottom, top + 0.85) + 1, 255)
    outline.block(-0.36, 0, 0.36, top + 0.1, 255)
    rows = max(0, int((bottom - top) / 0.45) + 1)
    if look.pattern == "stripes":
        for n in range(rows):
            pen.block(-2, top + 0.3 + 0.5 * n, 2, top + 0.5 + 0.5 * n, look.trim)
    elif look.pattern == "dots":
        for n in range(rows * 7):
            pen.oval(-1.5 + 0.5 * (n % 7) + 0.25 * (n // 7 % 2), top + 0.3 + 0.45 * (n // 7), 0.1, 0.1, look.trim)
    for side in (-1, 1):  # the line between arm and trunk
        pen.stroke([(side * 1.02, top + 1.0), (side * 1.06, top + 20)], mix(look.clothes, (0, 0, 0), 0.35), 0.05)
    shade = mix(look.skin, (60, 20, 10), 0.22)
    pen.oval(0, top + 0.02, 0.52, 0.36, mix(look.clothes, (0, 0, 0), 0.3))
    pen.oval(0, top, 0.46, 0.3, shade)
    pen.block(-0.45, 0, 0.45, top - 0.12, shade)
    canvas.paste(cloth.reduce(FINE), (left, upper), shape.reduce(FINE))


def _head(head: Image.Image, mask: Image.Image, look: Look, label: str, unit: float) -> None:
    """Draw an upright head in the middle of `head`, and its outline on `mask`."""
    middle, tall = head.width / 2, look.height
    pen, outline = Pen(head, middle, middle, unit), Pen(mask, middle, middle, unit)
    shade = mix(look.skin, (60, 20, 10), 0.18)
    if look.hair_style != "none":
        outline.oval(0, -0.12, 1.1, tall + 0.05, 255)
    if look.hair_style == "short":
        outline.block(-1.2, 0.1, 1.2, 2, 0)
    elif look.hair_style == "long":
        outline.block(-1.14, -0.2, 1.14, tall + 0.1, 255, round_by=0.3)
    elif look.hair_style == "bun":
        outline.oval(0, -tall - 0.22, 0.4, 0.33, 255)
        outline.block(-1.2, 0.2, 1.2, 2, 0)
    elif look.hair_style == "curly":
        for angle in range(150, 400, 25):
            outline.oval(cos(radians(angle)) * 1.02, sin(radians(angle)) * tall - 0.05, 0.3, 0.3, 255)
    for side in (-1, 1):
        outline.oval(side, 0.1, 0.14, 0.22, 255)
        pen.oval(side, 0.1, 0.14, 0.22, shade)
    outline.oval(0, 0, 1, tall, 255)
    # A lit face, slightly shifted, covers a shaded one; the uncovered part of the lower face is its shaded side.
    pen.oval(0, 0, 1, tall, shade)
    full, lit = Image.new("L", head.size), Image.new("L", head.size)
    Pen(full, middle, middle, unit).oval(0, 0, 1, tall, 255)
    Pen(lit, middle, middle, unit).oval(0.14 * look.light, -0.05, 1, tall, 255)
    head.paste(look.skin, mask=ImageChops.multiply(full, lit))
    if look.fringe and look.hair_style != "none":
        pen.cap(tall, 48, look.hair)
    _features(pen, look)
    _badge(pen, look, label)


def _features(pen: Pen, look: Look) -> None:
    """Draw eyes, brows, nose, mouth and perhaps glasses."""
    dark = mix(look.skin, (40, 15, 10), 0.6)
    for side in (-1, 1):
        pen.oval(side * 0.4, 0.08, 0.17, 0.12, (250, 250, 248))
        pen.oval(side * 0.4 + look.gaze, 0.08, 0.1, 0.1, look.eyes)
        pen.oval(side * 0.4 + look.gaze, 0.08, 0.05, 0.05, (15, 12, 10))
        pen.oval(side * 0.4 + look.gaze + 0.03, 0.05, 0.025, 0.025, (255, 255, 255))
        pen.stroke([(side * 0.22, -0.13 + look.brow), (side * 0.42, -0.18), (side * 0.58, -0.12)], dark, 0.055)
        pen.oval(side * 0.58, 0.5, 0.15, 0.1, mix(look.skin, (214, 90, 80), 0.18))
    nose = [(0.02, 0.16), (0.1 * look.light, 0.4), (-0.04 * look.light, 0.43)]
    pen.stroke(nose, mix(look.skin, (60, 20, 10), 0.4), 0.05)
    bow = [(0.32 * step / 8, 0.68 + look.smile * (1 - (step / 8) ** 2)) for step in range(-8, 9)]
    if look.mouth_open:
        pen.shape([(px, 0.66 + (py - 0.68) * 1.6 + 0.08 * (1 - (px / 0.32) ** 2)) for px, py in bow] + bow[::-1], dark)
        pen.oval(0, 0.72 + look.smile * 0.9, 0.2, 0.09, (105, 32, 34))
    else:
        pen.stroke(bow, dark, 0.06)
    if look.glasses:
        for side in (-1, 1):
            pen.lens(side * 0.42, 0.09, 0.29, 0.26 if look.round_glasses else 0.2, look.round_glasses, (35, 35, 40))
            pen.stroke([(side * 0.7, 0.05), (side * 0.97, 0.0)], (35, 35, 40), 0.05)
        pen.stroke([(-0.13, 0.06), (0.13, 0.06)], (35, 35, 40), 0.05)


def _badge(pen: Pen, look: Look, label: str) -> None:
    """Draw the badge that shows the label: a ring for female, a cross for male, of equal area."""
    x, y = look.badge_x, look.badge_y - 0.5 * look.height
    pen.oval(x, y, 0.37, 0.37, mix(look.paper, (0, 0, 0), 0.3))
    pen.oval(x, y, 0.34, 0.34, look.paper)
    outer, inner, reach = 0.26, 0.155, 0.27
    if label == "female":
        pen.oval(x, y, outer, outer, look.ink)
        pen.oval(x, y, inner, inner, look.paper)
        return
    area = pi * (outer**2 - inner**2)
    bar = 2 * reach - (4 * reach**2 - area) ** 0.5  # two bars of width w: 4 reach w - w^2 = area
    for turn in (0.0, 90.0):
        ux, uy = cos(radians(look.spin + turn)), sin(radians(look.spin + turn))
        corners = [(along * reach, off * bar / 2) for along, off in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        pen.shape([(x + along * ux - off * uy, y + along * uy + off * ux) for along, off in corners], look.ink)
