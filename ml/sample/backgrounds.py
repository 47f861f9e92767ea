"""The background and the lighting of a drawn scene."""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from ml.sample.pen import mix, pick

GRAIN = 192  # side in pixels of the square of noise that repeats
WALLS = ("#c9d6df", "#e3d5c8", "#cfe0cf", "#ddd3e4", "#efe3bd", "#b9c7c9", "#d8c0b6", "#a9b7d0", "#9fb5a3", "#c8b79e")


def draw_background(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Draw a gradient of two colors with a few soft spots; it is drawn small and enlarged, which is fast."""
    upper, lower = pick(rng, WALLS), pick(rng, WALLS)
    small = Image.new("RGB", (1, 2), upper)
    small.putpixel((0, 1), lower)
    small = small.resize((width // 8, height // 8), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(small)
    for _ in range(int(rng.integers(2, 7))):
        x, y, radius = rng.uniform(0, small.width), rng.uniform(0, small.height), rng.uniform(5, 18)
        spot = mix(mix(upper, lower, y / small.height), pick(rng, WALLS), rng.uniform(0.3, 0.8))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=spot)
    return small.filter(ImageFilter.GaussianBlur(3)).resize((width, height), Image.Resampling.BICUBIC)


def light_scene(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """Light the scene from one side in a warm or cool tint, and add the grain of a sensor."""
    direction, depth = rng.uniform(0, 2 * pi), rng.uniform(0, 0.22)
    across = np.linspace(-1, 1, image.width, dtype=np.float32)[None, :] * np.float32(cos(direction))
    down = np.linspace(-1, 1, image.height, dtype=np.float32)[:, None] * np.float32(sin(direction))
    gain = (across + down) * np.float32(depth / 1.4) + np.float32(rng.uniform(0.84, 1.08))
    warmth = rng.uniform(-0.05, 0.05)
    # Repeating one square costs a tenth of a whole image of noise. Both sides of a scene are multiples of GRAIN.
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
