"""Search photographs with a detector: whole, and in overlapping tiles for faces that are small on the photograph."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

import cv2
import numpy as np

from ml.vision.detectors.face import Face, merge
from ml.vision.images import Pixels

SHARE = 16  # without a smallest face, faces of this part of the photograph's longer side are looked for
FINER = 4  # by how much the next level's tiles are larger; half-overlapping tiles hold faces of up to half their side
TOUCHES = 0.01  # share of a tile's side within which a box touches its edge
WORTH = 0.9  # tiles of at least this share of the photograph's longer side show no more than the whole


class Network(Protocol):
    """What every detector does."""

    @property
    def side(self) -> int:
        """The longer side, in pixels, to which it scales what it is given."""

    @property
    def blank(self) -> tuple[int, int, int]:
        """The color, RGB, in which it sees nothing: that of the border around a photograph."""

    def find(self, picture: Pixels) -> list[Face]:
        """Return the faces of an RGB picture in the picture's pixels; some may be there several times."""


def search(photo: Pixels, network: Network, smallest: float, min_face: float | None = None) -> list[Face]:
    """Find the faces of a photograph.

    The time grows with the number of tiles: about 4 x width x height / (side of a tile) squared, where the side of a
    tile is `min_face` x (the network's side) / `smallest`.

    Args:
        photo: RGB.
        network: The detector.
        smallest: Side in pixels of the smallest face that the network finds reliably on what it sees.
        min_face: Side in pixels of the smallest face to look for on the photograph; None for 1 / `SHARE` of the
            photograph's longer side, with which every photograph takes about as long.

    Returns:
        Each face once, surest first.
    """
    longer = max(photo.shape[:2])
    side = (min_face or longer / SHARE) * network.side / smallest
    faces = network.find(photo)
    while side < WORTH * longer:
        faces += _search_tiles(photo, network, side)
        side *= FINER
    return merge(faces)


def _search_tiles(photo: Pixels, network: Network, side: float) -> list[Face]:
    """Find faces in tiles of about `side` pixels, each overlapping the next by half.

    A face at an inner edge of a tile is dropped: it may be cut, and another tile, or the whole, shows all of it.
    """
    height, width = photo.shape[:2]
    scale = network.side / side
    size = max(1, round(width * scale)), max(1, round(height * scale))
    scaled = cv2.resize(photo, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    faces = []
    for top in _starts(size[1], network.side):
        for left in _starts(size[0], network.side):
            tile = np.asarray(scaled[top : top + network.side, left : left + network.side], dtype=np.uint8)
            for face in network.find(tile):
                moved = face.moved(1.0, left, top)
                if not _is_cut(moved, left, top, network.side, size):
                    faces.append(moved.moved(1 / scale, 0.0, 0.0))
    return faces


def _starts(length: int, side: int) -> Iterator[int]:
    """Yield where tiles start on a line, evenly, so that the first and the last end with it."""
    steps = max(0, math.ceil((length - side) / (side / 2)))
    for step in range(steps + 1):
        yield round(step * (length - side) / steps) if steps else 0


def _is_cut(face: Face, left: int, top: int, side: int, size: tuple[int, int]) -> bool:
    """Return whether a face touches an edge of its tile that is not an edge of the photograph."""
    near = TOUCHES * side
    return (
        (left > 0 and face.box[0] < left + near)
        or (top > 0 and face.box[1] < top + near)
        or (left + side < size[0] and face.box[2] > left + side - near)
        or (top + side < size[1] and face.box[3] > top + side - near)
    )
