"""Decode, cut, rotate, resize and encode images, without TensorFlow.

Arrays are uint8, RGB, shape (height, width, 3). Boxes are (x_min, x_max, y_min, y_max), the order of the Open Images
files, as shares of the image's width and height in [0, 1]. Chips are cut in the coordinates of the stored photograph
and then turned upright.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]

MAX_PIXELS = 100_000_000  # guards against decompression bombs; published photographs have at most 1024 x 1024
STORED_SIDE = 256  # maximum side of a stored chip: the network's largest input, so no chip is enlarged twice
JPEG_QUALITY = 95
LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue in the luma of ITU-R BT.601
REDUCTIONS = (8, 4, 2)  # by which a JPEG can be reduced while it is decoded, in less time than without
# libjpeg's words for picture data that end early or are damaged. Whatever else it warns of are oddities of files that
# some cameras and programs write, whose pixels are whole.
DAMAGES = ("premature end", "bad huffman code", "bad arithmetic code", "instead of rst")
# For a damaged file, Pillow raises its own errors or any error of its parsers.
PILLOW_ERRORS = (OSError, SyntaxError, ValueError, LookupError, NotImplementedError, struct.error)


class UnreadableImageError(ValueError):
    """The bytes are not an image that can be decoded completely."""


class ImageTooLargeError(UnreadableImageError):
    """The image has more than `MAX_PIXELS` pixels by its header, so it is not decoded."""


@dataclass(frozen=True)
class EncodedImage:
    """An image file whose header has been read, and whose size is within the limit.

    Attributes:
        data: The file's content.
        width: The width in pixels.
        height: The height in pixels.
        jpeg: The file is a JPEG that the fast decoder reads; others are CMYK JPEG, PNG and rarer formats.
        warning: What libjpeg warned of when it read the header of a JPEG; None without a warning.
    """

    data: bytes
    width: int
    height: int
    jpeg: bool
    warning: str | None = None

    def decode(self, reduction: int = 1, warnings: list[str] | None = None) -> Pixels:
        """Decode the image to RGB as stored; the EXIF orientation is ignored, as the boxes of Open Images ignore it.

        Args:
            reduction: 1, or one of `REDUCTIONS`, by which the decoder may divide both sides, rounding up. It does so
                for a JPEG and not for other formats.
            warnings: Gets what libjpeg warns of, if it does and the picture is whole all the same.

        Raises:
            UnreadableImageError: The image cannot be decoded completely.
        """
        warning = self.warning
        with _as_unreadable():
            if self.jpeg:
                least = {"min_width": -(-self.width // reduction), "min_height": -(-self.height // reduction)}
                try:
                    return np.asarray(simplejpeg.decode_jpeg(self.data, "RGB", min_factor=reduction, **least))
                except ValueError as error:
                    _check_undamaged(error)
                    warning = str(error)
            pixels = _decode_rarer(self.data)  # Pillow refuses what is cut short
        if warning is not None and warnings is not None:
            warnings.append(warning)
        return pixels


def read_header(data: bytes) -> EncodedImage:
    """Read the header of an image file.

    Raises:
        UnreadableImageError: The data is empty, in an unknown format, or its header is damaged.
        ImageTooLargeError: The image has more than `MAX_PIXELS` pixels.
    """
    warning = None
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # Pillow's own is lower, and it would warn
    with _as_unreadable():
        if data[:2] == b"\xff\xd8":
            try:
                height, width, colors, _ = simplejpeg.decode_jpeg_header(data)
            except ValueError as error:
                _check_undamaged(error)
                warning = str(error)
            else:
                if colors in ("YCbCr", "RGB", "Gray"):
                    return _of_legal_size(EncodedImage(data, width, height, jpeg=True))
        with Image.open(io.BytesIO(data)) as image:
            return _of_legal_size(EncodedImage(data, *image.size, jpeg=False, warning=warning))


def decode(data: bytes, warnings: list[str] | None = None) -> Pixels:
    """Decode an image file, see `EncodedImage.decode`.

    Raises:
        UnreadableImageError: The data is empty, truncated or in an unknown format.
        ImageTooLargeError: The image has more than `MAX_PIXELS` pixels.
    """
    return read_header(data).decode(warnings=warnings)


def _check_undamaged(error: ValueError) -> None:
    """Raise the error again if it says that the picture is damaged.

    The fast decoder raises the same error for what libjpeg cannot read and for what it only warns of.
    """
    if any(damage in str(error).lower() for damage in DAMAGES):
        raise error


@contextmanager
def _as_unreadable() -> Iterator[None]:
    """Translate the errors of the decoders."""
    try:
        yield
    except UnreadableImageError:
        raise
    except Image.DecompressionBombError as error:  # Pillow refuses more than twice its limit
        raise _too_large("its pixels") from error
    except PILLOW_ERRORS as error:
        raise UnreadableImageError(str(error) or type(error).__name__) from error


def _of_legal_size(image: EncodedImage) -> EncodedImage:
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(f"{image.width} x {image.height} pixels")
    return image


def _too_large(size: str) -> ImageTooLargeError:
    limit = f"the {MAX_PIXELS // 1_000_000} megapixels that MAX_PIXELS in ml/vision/images.py allows"
    return ImageTooLargeError(f"{size} are more than {limit}")


def _decode_rarer(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        if image.mode.startswith("I;16"):  # Pillow would clip at 255 instead of dropping the low 8 bits
            return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
        return np.asarray(image.convert("RGB"))


def reduction_for(side: int) -> int:
    """Return by how much an image may be reduced so that a square of this side still fills a stored chip."""
    return next((reduction for reduction in REDUCTIONS if side >= reduction * STORED_SIDE), 1)


def encode_jpeg(image: Pixels, quality: int = JPEG_QUALITY) -> bytes:
    """Encode RGB pixels as JPEG without chroma subsampling."""
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality, "RGB", "444"))


def encode_png(image: Pixels) -> bytes:
    """Encode RGB pixels as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def box_size(box: Box, width: int, height: int) -> tuple[float, float]:
    """Return width and height of a box in pixels of an image of the given size."""
    x_min, x_max, y_min, y_max = box
    return (x_max - x_min) * width, (y_max - y_min) * height


def square(box: Box, width: int, height: int, margin: float) -> tuple[int, int, int]:
    """Return the square of the chip around a box in whole pixels; it may extend beyond the image.

    Args:
        box: The face box.
        width: The image's width in pixels.
        height: The image's height in pixels.
        margin: The margin on each side, as a share of the box's longer side.

    Returns:
        Left, top and side.
    """
    x_min, x_max, y_min, y_max = box
    side = max(1, round(max(box_size(box, width, height)) * (1 + 2 * margin)))
    left = round((x_min + x_max) / 2 * width - side / 2)
    top = round((y_min + y_max) / 2 * height - side / 2)
    return left, top, side


def crop(image: Pixels, left: int, top: int, side: int) -> Pixels:
    """Cut a square; beyond the image's border, the border pixels repeat, so nothing is distorted."""
    height, width = image.shape[:2]
    if top >= 0 and left >= 0 and top + side <= height and left + side <= width:
        return image[top : top + side, left : left + side]
    rows = np.clip(np.arange(top, top + side), 0, height - 1)
    columns = np.clip(np.arange(left, left + side), 0, width - 1)
    return image[np.ix_(rows, columns)]


def turn_upright(image: Pixels, rotation: int) -> Pixels:
    """Rotate an image counterclockwise by an Open Images `Rotation` of 0, 90, 180 or 270 degrees."""
    return np.ascontiguousarray(np.rot90(image, rotation // 90))


def resize(image: Pixels, side: int) -> Pixels:
    """Resize a square image: shrink by area averaging, enlarge by bilinear interpolation.

    Enlarging uses half-pixel centers as TensorFlow's `resize` does, so an exported model that resizes its own input
    sees the chips that it was trained on, up to rounding.

    Raises:
        ValueError: The image is not square, so its aspect ratio would change.
    """
    if image.shape[0] != image.shape[1]:
        raise ValueError(f"only square images keep their aspect ratio, and this one has shape {image.shape}")
    if image.shape[0] == side:
        return np.ascontiguousarray(image)
    interpolation = cv2.INTER_AREA if image.shape[0] > side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (side, side), interpolation=interpolation), dtype=np.uint8)


def cut_chip(image: Pixels, box: Box, margin: float, rotation: int = 0) -> Pixels:
    """Cut the chip to store for a face: square, with margin, upright, at most `STORED_SIDE` pixels per side."""
    height, width = image.shape[:2]
    return turn_upright(_shrink(crop(image, *square(box, width, height, margin))), rotation)


def _shrink(image: Pixels) -> Pixels:
    """Reduce a square image to `STORED_SIDE` pixels per side, or return it as it is if it is not larger.

    A factor below 2 takes bilinear interpolation, which on photographs is at least as close to an ideal filter as area
    averaging, in a fifth of the time (docs/decisions/0012-photographs.md).
    """
    side = image.shape[0]
    if side <= STORED_SIDE or side >= 2 * STORED_SIDE:
        return resize(image, min(side, STORED_SIDE))
    reduced = cv2.resize(image, (STORED_SIDE, STORED_SIDE), interpolation=cv2.INTER_LINEAR)
    return np.asarray(reduced, dtype=np.uint8)


def decode_chip(encoded_chip: bytes, side: int) -> Pixels:
    """Decode a stored chip to the network's input size, shape (side, side, 3)."""
    return resize(decode(encoded_chip), side)


def brightness(pixels: Pixels) -> float:
    """Return the mean luma of a chip by ITU-R BT.601, as a share of 255, in [0, 1]."""
    sums = pixels.sum(axis=(0, 1), dtype=np.int64)
    return float(sums @ LUMA / (255 * pixels.shape[0] * pixels.shape[1]))


def sharpness(pixels: Pixels) -> float:
    """Return the variance of the Laplacian of a chip's luma (Pech-Pacheco et al. 2000), at least 0; noise raises it."""
    return float(cv2.Laplacian(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var())
