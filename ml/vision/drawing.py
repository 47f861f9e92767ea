"""Draw boxes with text on photographs, contact sheets and heat maps. All images are RGB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ml.vision.images import Box, Pixels

Color = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]  # left, top, right, bottom in pixels; right and bottom are exclusive

# Distinguishable with color vision deficiency (Okabe and Ito, 2008), and readable as the background of text.
PALETTE: tuple[Color, ...] = ((230, 159, 0), (0, 114, 178), (0, 158, 115), (204, 121, 167), (213, 94, 0))
WHITE: Color = (255, 255, 255)
BLACK: Color = (0, 0, 0)
SMALLEST_TEXT = 8


@dataclass(frozen=True)
class Mark:
    """A box to draw on a photograph, with a text.

    Attributes:
        box: The box in pixels of the photograph.
        text: One line of text; empty to draw only the box.
        color: The color of the box and of the text's background, RGB.
    """

    box: Rectangle
    text: str
    color: Color = PALETTE[0]


def rectangle(box: Box, width: int, height: int) -> Rectangle:
    """Convert an Open Images box (shares of the image) to whole pixels of an image of the given size."""
    x_min, x_max, y_min, y_max = box
    return round(x_min * width), round(y_min * height), round(x_max * width), round(y_max * height)


def turn_box(box: Box, rotation: int) -> Box:
    """Return the box in an image that `ml.vision.images.turn_upright` turned by 0, 90, 180 or 270 degrees."""
    x_min, x_max, y_min, y_max = box
    for _ in range(rotation // 90 % 4):
        x_min, x_max, y_min, y_max = y_min, y_max, 1 - x_max, 1 - x_min
    return x_min, x_max, y_min, y_max


def draw_marks(photo: Pixels, marks: Sequence[Mark]) -> Pixels:
    """Draw boxes and their texts on a copy of a photograph.

    Lines and text scale with the photograph. A text is above its box, below it or inside it, wherever it fits in the
    photograph and hides the least of other texts and boxes. The font shrinks if the text is wider than the photograph.

    Args:
        photo: RGB, uint8, shape (height, width, 3).
        marks: The boxes and texts to draw.

    Returns:
        RGB, uint8, same shape.
    """
    image = Image.fromarray(photo)
    draw = ImageDraw.Draw(image)
    line = max(2, round(max(image.size) / 260))
    for mark in marks:
        left, top, right, bottom = mark.box
        draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=mark.color, width=line)
    placed: list[Rectangle] = []
    for mark in marks:
        if not mark.text:
            continue
        font = _fitting_font(mark.text, max(13, round(max(image.size) / 36)), image.width)
        pad = max(1, round(font.size / 5))
        ascent, descent = font.getmetrics()
        size = round(font.getlength(mark.text)) + 2 * pad, ascent + descent + pad
        others = [other.box for other in marks if other is not mark]
        place = min(_places(mark.box, size, image.size), key=lambda p: _hidden(p, placed, others))
        placed.append(place)
        left, top, right, bottom = place
        draw.rectangle((left, top, right - 1, bottom - 1), fill=mark.color)
        draw.text((left + pad, top + pad // 2), mark.text, fill=_ink(mark.color), font=font)
    return np.asarray(image)


def contact_sheet(pictures: Sequence[tuple[Pixels, str]], columns: int, tile: int = 220) -> Pixels:
    """Arrange pictures in a grid, each fitted into a square tile with its caption below.

    Args:
        pictures: RGB uint8 pictures of any size, each with a caption of one or more lines.
        columns: Pictures per row.
        tile: Side of a tile in pixels.

    Returns:
        RGB, uint8, on a white background.

    Raises:
        ValueError: There are no pictures.
    """
    if not pictures:
        raise ValueError("a contact sheet needs at least one picture")
    gap, size = 10, min(18, max(SMALLEST_TEXT, tile // 13))
    line = size + 4
    lines = max(caption.count("\n") + 1 for _, caption in pictures)
    step_y = tile + lines * line + gap
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (gap + columns * (tile + gap), gap + rows * step_y), WHITE)
    draw = ImageDraw.Draw(sheet)
    for index, (pixels, caption) in enumerate(pictures):
        left, top = gap + index % columns * (tile + gap), gap + index // columns * step_y
        picture = fit(pixels, tile)
        height, width = picture.shape[:2]
        sheet.paste(Image.fromarray(picture), (left + (tile - width) // 2, top + (tile - height)))
        for number, text in enumerate(caption.split("\n")):
            font = _fitting_font(text, size, tile)
            draw.text((left, top + tile + 3 + number * line), _shorten(text, font, tile), fill=BLACK, font=font)
    return np.asarray(sheet)


def side_by_side(pictures: Sequence[Pixels]) -> Pixels:
    """Put pictures beside each other, on a white background."""
    gap = 6
    width = sum(picture.shape[1] for picture in pictures) + gap * (len(pictures) - 1)
    sheet = np.full((max(picture.shape[0] for picture in pictures), width, 3), 255, np.uint8)
    left = 0
    for picture in pictures:
        height, step = picture.shape[:2]
        sheet[:height, left : left + step] = picture
        left += step + gap
    return sheet


def heat_overlay(photo: Pixels, heat: NDArray[np.floating]) -> Pixels:
    """Overlay a heat map on the grayscale picture, from violet (cold) to yellow (hot).

    Args:
        photo: RGB, uint8, shape (height, width, 3).
        heat: 0 to 1, shape (h, w), enlarged to the size of the picture.

    Returns:
        RGB, uint8, same shape as the picture.
    """
    height, width = photo.shape[:2]
    large = cv2.resize(heat.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)[..., None]
    colors = matplotlib.colormaps["inferno"](large[..., 0])[..., :3] * 255
    gray = photo.mean(axis=2, keepdims=True)  # gray, because skin colors look like heat
    return np.asarray((0.45 * gray + 0.55 * colors).clip(0, 255), dtype=np.uint8)


def fit(pixels: Pixels, tile: int) -> Pixels:
    """Resize a picture so that its longer side is `tile` pixels."""
    height, width = pixels.shape[:2]
    scale = tile / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, size, interpolation=interpolation), dtype=np.uint8)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # matplotlib ships this font, so none must be installed; it covers most languages.
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)


def _fitting_font(text: str, size: int, width: int) -> ImageFont.FreeTypeFont:
    while size > SMALLEST_TEXT and _font(size).getlength(text) > width - 4:
        size -= 1
    return _font(size)


def _shorten(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _places(box: Rectangle, size: tuple[int, int], photo: tuple[int, int]) -> list[Rectangle]:
    """Return the possible places of a text: above, below, inside at the top, inside at the bottom.

    A place that would be outside the photograph is dropped or moved inside.
    """
    left, top, _, bottom = box
    width, height = size
    tops = [y for y in (top - height, bottom) if 0 <= y <= photo[1] - height]
    tops += [max(0, min(y, photo[1] - height)) for y in (top, bottom - height)]
    x = max(0, min(left, photo[0] - width))
    return [(x, y, x + width, y + height) for y in tops]


def _hidden(place: Rectangle, texts: Sequence[Rectangle], boxes: Sequence[Rectangle]) -> float:
    """Return the cost of a text at `place`: the pixels it would hide, with texts weighted more than boxes."""
    return 10.0 * sum(_overlap(place, other) for other in texts) + sum(_overlap(place, other) for other in boxes)


def _overlap(one: Rectangle, other: Rectangle) -> int:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0, width) * max(0, height)


def _ink(background: Color) -> Color:
    """Return black or white, whichever is more readable on the color (relative luminance, ITU-R BT.709)."""
    red, green, blue = background
    return BLACK if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 110 else WHITE
