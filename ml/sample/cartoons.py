"""Draw scenes of cartoon portraits whose label can be read off one abstract figure.

The sample release needs faces that a small network can learn from and that say nothing about how people look. So every
face wears a round badge on its forehead, and the badge alone tells the label: a **ring** for `female`, a **cross** for
`male`. Everything else (skin, hair, clothes, glasses, expression, colours, light) is drawn from the same random numbers
whatever the label. The figure survives flips, shifts and turns, and ring and cross cover the same area, so that a mean
colour does not give the answer away.

A *unit* below is half the width of a face. Face coordinates have their origin at the centre of the face, x to the right
and y downwards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import cos, hypot, pi, radians, sin
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

Colour = tuple[int, int, int]

LONG_SIDE, SHORT_SIDE, GRAIN = 768, 576, 192
FINE = 2  # people are drawn this many times larger, then reduced, for smooth edges
SHOULDERS = 1.5  # half the width of a person, in units
FAINT_SHARE = 0.04  # faces whose figure is almost invisible, lest a classifier reach a perfect score
LABELS = ("female", "male")

# fmt: off
SKINS = ("#f6d9c4", "#eec1a0", "#dca67e", "#c98e62", "#a9714a", "#8a5636", "#693f27", "#4d2d1e")
HAIRS = ("#1d1815", "#3b2619", "#6a4426", "#a06c36", "#d5ac5d", "#b4492b", "#8f8f92", "#e3e0da", "#2f6f78", "#7b4f91")
CLOTHES = ("#34577c", "#7c3444", "#3e6b4f", "#d39b3c", "#6b5b95", "#c8553d", "#4a4e57", "#dcd6c8", "#2a9d8f", "#d88ca0")
WALLS = ("#c9d6df", "#e3d5c8", "#cfe0cf", "#ddd3e4", "#efe3bd", "#b9c7c9", "#d8c0b6", "#a9b7d0", "#9fb5a3", "#c8b79e")
PAPERS = ("#fff8e1", "#e8f4fd", "#f3e9fb", "#e9f7e4", "#ffeceb", "#f2f2f2")
INKS = ("#1a237e", "#7a1020", "#0f4d2a", "#3d1560", "#202020", "#5a3200")
EYES = ("#3a2a1c", "#4a6b8a", "#5c7a4a", "#6b4a2a")
# fmt: on
PATTERNS = ("plain", "stripes", "dots")
HAIR_STYLES = ("none", "short", "round", "curly", "long", "bun")


class Box(NamedTuple):
    """A rectangle in fractions of the image's width and height, each in [0, 1], in the order of Open Images."""

    x_min: float
    x_max: float
    y_min: float
    y_max: float

    def clip(self, outer: Box | None = None) -> Box:
        """Return the part of the box that lies inside `outer`. Defaults to the whole image."""
        left, right, top, bottom = outer or (0.0, 1.0, 0.0, 1.0)
        return Box(max(self.x_min, left), min(self.x_max, right), max(self.y_min, top), min(self.y_max, bottom))

    def turn(self, quarters: int) -> Box:
        """Return the box after its image was turned clockwise by so many quarter turns."""
        box = self
        for _ in range(quarters):
            box = Box(1 - box.y_max, 1 - box.y_min, box.x_min, box.x_max)
        return box


@dataclass(frozen=True)
class Sitter:
    """Who is to be drawn: `label` is one of LABELS, `kind` is "portrait", "depiction" (framed) or "group" (six)."""

    label: str
    child: bool = False
    kind: str = "portrait"


@dataclass(frozen=True)
class Portrait:
    """Where a sitter was drawn, the face inside the person; `truncated` when an edge of the image cuts the face."""

    face: Box
    person: Box
    clothing: Box
    glasses: Box | None
    frame: Box | None
    truncated: bool


class Look:
    """What one drawn person looks like, chosen at random whatever the label; lengths in units, angles in degrees."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.skin, self.hair, self.eyes = _pick(rng, SKINS), _pick(rng, HAIRS), _pick(rng, EYES)
        self.hair_style = HAIR_STYLES[int(rng.integers(len(HAIR_STYLES)))]
        self.fringe, self.mouth_open, self.glasses, self.round_glasses = rng.random(4) < (0.5, 0.3, 0.3, 0.5)
        self.clothes, self.trim = _pick(rng, CLOTHES), _pick(rng, CLOTHES)
        self.pattern = PATTERNS[int(rng.integers(len(PATTERNS)))]
        self.brow, self.gaze, self.smile = rng.uniform((-0.06, -0.05, -0.07), (0.06, 0.05, 0.22))
        self.light = int(rng.choice([-1, 1]))
        self.height, self.tilt = rng.uniform((1.14, -10), (1.36, 10))
        self.badge_x, self.badge_y, self.spin = rng.uniform((-0.22, -0.04, 0), (0.22, 0.02, 90))
        self.paper, ink = _pick(rng, PAPERS), _pick(rng, INKS)
        self.ink = _mix(self.paper, ink, 0.06) if rng.random() < FAINT_SHARE else ink


def draw_scene(rng: np.random.Generator, sitters: list[Sitter]) -> tuple[Image.Image, list[Portrait]]:
    """Draw one to four sitters side by side on a soft background.

    No face lies inside the person box of a neighbour.

    Args:
        rng: Source of all that varies. It is used alike for either label.
        sitters: From left to right, at least one.

    Returns:
        An upright RGB image, 768 x 576 or (with at most three sitters) 576 x 768 pixels, and where each sitter is.

    Raises:
        ValueError: there is no sitter, or more than four.
    """
    if not 1 <= len(sitters) <= 4:
        raise ValueError(f"a scene holds one to four sitters, not {len(sitters)}")
    tall = rng.random() < 0.3 and len(sitters) < 4
    width, height = (SHORT_SIDE, LONG_SIDE) if tall else (LONG_SIDE, SHORT_SIDE)
    canvas = _background(rng, width, height)
    slot = canvas.width / len(sitters)
    portraits = [_place(rng, canvas, sitter, n * slot, slot) for n, sitter in enumerate(sitters)]
    return _light(rng, canvas), portraits


def _place(rng: np.random.Generator, canvas: Image.Image, sitter: Sitter, left: float, slot: float) -> Portrait:
    """Draw one sitter in the vertical strip of `canvas` which begins at `left` and is `slot` pixels wide."""
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
        ImageDraw.Draw(canvas).rectangle(edges, fill=_rgb("#5b3a1e"))
        rim = 0.13 * unit
        picture = (round(edges[0] + rim), round(edges[1] + rim), round(edges[2] - rim), round(edges[3] - rim))
        canvas.paste(_rgb("#d9c9a8"), picture)
        portrait = _person(canvas, Look(rng), sitter.label, x, y, unit, picture[3])
        sepia = ImageOps.colorize(canvas.crop(picture).convert("L"), "#2b1a0d", "#f7ead0")
        canvas.paste(sepia, picture)
        frame = _box(canvas, edges[0], edges[2], edges[1], edges[3])
        return replace(portrait, frame=frame.clip())
    return _person(canvas, Look(rng), sitter.label, x, y, unit, canvas.height)


def _group(rng: np.random.Generator, canvas: Image.Image, label: str, x: float, y: float, unit: float) -> Portrait:
    """Draw six people who touch each other, in two rows; their boxes are one."""
    drawn = [
        _person(canvas, Look(rng), label, x + across * unit, y + down * unit, unit, canvas.height)
        for down, places in ((0.0, (-1.1, 1.1, 3.0)), (2.4, (-2.6, -0.2, 2.2)))
        for across in places
    ]
    face, person, clothing = (
        Box(*(choose(values) for choose, values in zip((min, max, min, max), zip(*boxes, strict=True), strict=True)))
        for boxes in ([p.face for p in drawn], [p.person for p in drawn], [p.clothing for p in drawn])
    )
    return Portrait(face, person, clothing, None, None, truncated=False)


def _person(canvas: Image.Image, look: Look, label: str, x: float, y: float, unit: float, floor: float) -> Portrait:
    """Draw body and head with the face centred on (x, y) pixels; the body ends at the height `floor`."""
    _body(canvas, look, x, y, unit, floor)
    side = round(unit * 4)
    head, mask = Image.new("RGB", (side * FINE, side * FINE), look.hair), Image.new("L", (side * FINE, side * FINE))
    _head(head, mask, look, label, unit * FINE)
    canvas.paste(_tilt(head, look.tilt), (round(x) - side // 2, round(y) - side // 2), _tilt(mask, look.tilt))

    tilt, tall = radians(look.tilt), look.height
    across, down = hypot(cos(tilt), tall * sin(tilt)) * unit, hypot(sin(tilt), tall * cos(tilt)) * unit
    face = _box(canvas, x - across, x + across, y - down, y + down)
    crown = tall + (0.55 if look.hair_style == "bun" else 0.2)
    person = _box(canvas, x - SHOULDERS * unit, x + SHOULDERS * unit, y - crown * unit, floor)
    clothing = _box(canvas, x - SHOULDERS * unit, x + SHOULDERS * unit, y + (tall + 0.25) * unit, floor)
    glasses = _box(canvas, x - 0.85 * unit, x + 0.85 * unit, y - 0.25 * unit, y + 0.4 * unit) if look.glasses else None
    cut = face.clip() != face
    return Portrait(face.clip(), person.clip(), clothing.clip(), glasses and glasses.clip(), None, truncated=cut)


def _tilt(tile: Image.Image, degrees: float) -> Image.Image:
    """Turn a square tile about its centre and reduce it by FINE in one step; each pixel is a mean of four."""
    side = tile.width // FINE
    c, s = cos(radians(degrees)) * FINE, sin(radians(degrees)) * FINE
    rows = (c, s, (tile.width - (c + s) * side) / 2, -s, c, (tile.width - (c - s) * side) / 2)
    return tile.transform((side, side), Image.Transform.AFFINE, rows, Image.Resampling.BILINEAR)


def _body(canvas: Image.Image, look: Look, x: float, y: float, unit: float, floor: float) -> None:
    """Draw neck, shoulders and clothes down to `floor`."""
    top = look.height + 0.28  # the shoulders' height, in units below the centre of the face
    left, upper = round(x - 1.6 * unit), round(y)
    size = (round(3.2 * unit) * FINE, max(1, round(floor - y)) * FINE)
    cloth, shape = Image.new("RGB", size, look.clothes), Image.new("L", size)
    pen, outline = (_Pen(tile, (x - left) * FINE, (y - upper) * FINE, unit * FINE) for tile in (cloth, shape))
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
        pen.stroke([(side * 1.02, top + 1.0), (side * 1.06, top + 20)], _mix(look.clothes, (0, 0, 0), 0.35), 0.05)
    shade = _mix(look.skin, (60, 20, 10), 0.22)
    pen.oval(0, top + 0.02, 0.52, 0.36, _mix(look.clothes, (0, 0, 0), 0.3))
    pen.oval(0, top, 0.46, 0.3, shade)
    pen.block(-0.45, 0, 0.45, top - 0.12, shade)
    canvas.paste(cloth.reduce(FINE), (left, upper), shape.reduce(FINE))


def _head(head: Image.Image, mask: Image.Image, look: Look, label: str, unit: float) -> None:
    """Draw a head without tilt in the middle of `head`, and its outline on `mask`."""
    middle, tall = head.width / 2, look.height
    pen, outline = _Pen(head, middle, middle, unit), _Pen(mask, middle, middle, unit)
    shade = _mix(look.skin, (60, 20, 10), 0.18)
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
    # A lit face on a shaded one: the part of the face that a shifted face leaves uncovered lies in the shade.
    pen.oval(0, 0, 1, tall, shade)
    full, lit = Image.new("L", head.size), Image.new("L", head.size)
    _Pen(full, middle, middle, unit).oval(0, 0, 1, tall, 255)
    _Pen(lit, middle, middle, unit).oval(0.14 * look.light, -0.05, 1, tall, 255)
    head.paste(look.skin, mask=ImageChops.multiply(full, lit))
    if look.fringe and look.hair_style != "none":
        pen.cap(tall, 48, look.hair)
    _features(pen, look)
    _badge(pen, look, label)


def _features(pen: _Pen, look: Look) -> None:
    """Draw eyes, brows, nose, mouth and perhaps glasses."""
    dark = _mix(look.skin, (40, 15, 10), 0.6)
    for side in (-1, 1):
        pen.oval(side * 0.4, 0.08, 0.17, 0.12, (250, 250, 248))
        pen.oval(side * 0.4 + look.gaze, 0.08, 0.1, 0.1, look.eyes)
        pen.oval(side * 0.4 + look.gaze, 0.08, 0.05, 0.05, (15, 12, 10))
        pen.oval(side * 0.4 + look.gaze + 0.03, 0.05, 0.025, 0.025, (255, 255, 255))
        pen.stroke([(side * 0.22, -0.13 + look.brow), (side * 0.42, -0.18), (side * 0.58, -0.12)], dark, 0.055)
        pen.oval(side * 0.58, 0.5, 0.15, 0.1, _mix(look.skin, (214, 90, 80), 0.18))
    nose = [(0.02, 0.16), (0.1 * look.light, 0.4), (-0.04 * look.light, 0.43)]
    pen.stroke(nose, _mix(look.skin, (60, 20, 10), 0.4), 0.05)
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


def _badge(pen: _Pen, look: Look, label: str) -> None:
    """Draw the badge which tells the label: a ring for female, a cross for male, of equal area."""
    x, y = look.badge_x, look.badge_y - 0.5 * look.height
    pen.oval(x, y, 0.37, 0.37, _mix(look.paper, (0, 0, 0), 0.3))
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


class _Pen:
    """Draw on an image in face coordinates: the origin at (x, y) pixels, one unit `unit` pixels long."""

    def __init__(self, image: Image.Image, x: float, y: float, unit: float) -> None:
        self._draw = ImageDraw.Draw(image)
        self._x, self._y, self._unit = x, y, unit

    def _at(self, x: float, y: float) -> tuple[float, float]:
        return self._x + x * self._unit, self._y + y * self._unit

    def oval(self, x: float, y: float, rx: float, ry: float, fill: Colour | int) -> None:
        self._draw.ellipse((*self._at(x - rx, y - ry), *self._at(x + rx, y + ry)), fill=fill)

    def block(self, x0: float, y0: float, x1: float, y1: float, fill: Colour | int, round_by: float = 0.0) -> None:
        self._draw.rounded_rectangle((*self._at(x0, y0), *self._at(x1, y1)), round_by * self._unit, fill=fill)

    def shape(self, points: list[tuple[float, float]], fill: Colour) -> None:
        self._draw.polygon([self._at(*point) for point in points], fill=fill)

    def stroke(self, points: list[tuple[float, float]], fill: Colour, width: float) -> None:
        self._draw.line(
            [self._at(*p) for p in points], fill=fill, width=max(1, round(width * self._unit)), joint="curve"
        )

    def cap(self, height: float, half_angle: float, fill: Colour) -> None:
        """Cover the top of a face of that half height."""
        box = (*self._at(-1, -height), *self._at(1, height))
        self._draw.chord(box, 270 - half_angle, 270 + half_angle, fill=fill)

    def lens(self, x: float, y: float, rx: float, ry: float, rounded: bool, colour: Colour) -> None:
        box, width = (*self._at(x - rx, y - ry), *self._at(x + rx, y + ry)), max(1, round(0.055 * self._unit))
        radius = self._unit * (min(rx, ry) if rounded else 0.08)
        self._draw.rounded_rectangle(box, radius, outline=colour, width=width)


def _background(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Two colours that run into each other, with a few soft spots; drawn small and enlarged, which is quick."""
    upper, lower = _pick(rng, WALLS), _pick(rng, WALLS)
    small = Image.new("RGB", (1, 2), upper)
    small.putpixel((0, 1), lower)
    small = small.resize((width // 8, height // 8), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(small)
    for _ in range(int(rng.integers(2, 7))):
        x, y, radius = rng.uniform(0, small.width), rng.uniform(0, small.height), rng.uniform(5, 18)
        spot = _mix(_mix(upper, lower, y / small.height), _pick(rng, WALLS), rng.uniform(0.3, 0.8))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=spot)
    return small.filter(ImageFilter.GaussianBlur(3)).resize((width, height), Image.Resampling.BICUBIC)


def _light(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """Light the scene from one side in a warm or cool tint, and add the grain of a sensor."""
    direction, depth = rng.uniform(0, 2 * pi), rng.uniform(0, 0.22)
    across = np.linspace(-1, 1, image.width, dtype=np.float32)[None, :] * np.float32(cos(direction))
    down = np.linspace(-1, 1, image.height, dtype=np.float32)[:, None] * np.float32(sin(direction))
    gain = (across + down) * np.float32(depth / 1.4) + np.float32(rng.uniform(0.84, 1.08))
    warmth = rng.uniform(-0.05, 0.05)
    # Both sides of a scene are multiples of GRAIN: one square of noise, repeated, costs a tenth of a whole image of it.
    square = rng.standard_normal((GRAIN, GRAIN), dtype=np.float32) * np.float32(rng.uniform(1, 5))
    grain = np.tile(square, (image.height // GRAIN, image.width // GRAIN))
    bands = []
    for band, tint in zip(image.split(), (1 + warmth, 1.0, 1 - warmth), strict=True):
        lit = np.asarray(band, dtype=np.float32)
        lit *= gain
        lit *= np.float32(tint)
        lit += grain
        bands.append(Image.fromarray(lit.clip(0, 255, out=lit).astype(np.uint8)))
    return Image.merge("RGB", bands)


def _box(canvas: Image.Image, left: float, right: float, top: float, bottom: float) -> Box:
    return Box(left / canvas.width, right / canvas.width, top / canvas.height, bottom / canvas.height)


def _rgb(code: str) -> Colour:
    return int(code[1:3], 16), int(code[3:5], 16), int(code[5:7], 16)


def _pick(rng: np.random.Generator, palette: tuple[str, ...]) -> Colour:
    return _rgb(palette[int(rng.integers(len(palette)))])


def _mix(first: Colour, second: Colour, share: float) -> Colour:
    """The colour `share` of the way from the first to the second, `share` in [0, 1]."""
    r, g, b = (round(a + (z - a) * share) for a, z in zip(first, second, strict=True))
    return r, g, b
