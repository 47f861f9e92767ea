"""A detected face, and how several detections of one face become one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ml.vision.drawing import Rectangle

Edges = tuple[float, float, float, float]  # left, top, right, bottom in pixels, unrounded
Points = tuple[tuple[float, float], ...]
SAME_FACE = 0.3  # IoU from which two boxes are of one face, as in MediaPipe's face detection
PART = 0.7  # share of a box within another from which it is a part of that face, such as an eye or half of it


@dataclass(frozen=True)
class Face:
    """A face that a detector found.

    Attributes:
        box: Left, top, right and bottom in pixels of the searched picture; it may extend beyond the picture's edges.
        score: How sure the detector is, 0 to 1. Scores of different detectors cannot be compared.
        landmarks: x and y of the right eye, the left eye, the tip of the nose and the mouth (its middle, or its two
            corners) in the same pixels; None if the detector gives none.
        rotation: Degrees counterclockwise, 0, 90, 180 or 270, that make the face upright.
    """

    box: Edges
    score: float
    landmarks: Points | None = None
    rotation: int = 0

    def rectangle(self) -> Rectangle:
        """Return the box in whole pixels, at least one pixel wide and high."""
        left, top, right, bottom = map(round, self.box)
        return left, top, max(left + 1, right), max(top + 1, bottom)

    def moved(self, scale: float, left: float, top: float) -> Face:
        """Return the face in the pixels of a picture in which this one, enlarged by `scale`, lies at (left, top)."""
        x0, y0, x1, y1 = self.box
        return replace(
            self,
            box=(x0 * scale + left, y0 * scale + top, x1 * scale + left, y1 * scale + top),
            landmarks=self.landmarks and tuple((x * scale + left, y * scale + top) for x, y in self.landmarks),
        )

    def turned_back(self, width: int) -> Face:
        """Return the face in a picture that was turned counterclockwise by 90 degrees to show it as it is here.

        Args:
            width: Width in pixels of that picture before it was turned.
        """
        x0, y0, x1, y1 = self.box
        return replace(
            self,
            box=(width - y1, x0, width - y0, x1),
            landmarks=self.landmarks and tuple((width - y, x) for x, y in self.landmarks),
            rotation=(self.rotation + 90) % 360,
        )


def merge(faces: Sequence[Face]) -> list[Face]:
    """Merge detections of the same face by weighted non-maximum suppression.

    Around the surest detection, all boxes that overlap it (IoU of at least `SAME_FACE`) are averaged with their scores
    as weights, box and landmarks alike; then the same with what remains. This is the method of BlazeFace (Bazarevsky et
    al., 2019, arXiv:1907.05047, section 3.3).

    Returns:
        The faces, surest first. A merged face keeps the highest score.
    """
    remaining = sorted(faces, key=lambda face: -face.score)
    merged = []
    while remaining:
        best = remaining[0]
        overlaps = overlap(best, remaining)
        overlaps[0] = 1.0  # with itself, even if its box is empty
        merged.append(_average([face for face, share in zip(remaining, overlaps, strict=True) if share >= SAME_FACE]))
        remaining = [face for face, share in zip(remaining, overlaps, strict=True) if share < SAME_FACE]
    return merged


def overlap(face: Face, others: Sequence[Face]) -> NDArray[np.float64]:
    """Return the intersection over union of a face's box with each of the other boxes."""
    shared, area, areas = _areas(face, others)
    return np.asarray(shared / np.maximum(area + areas - shared, 1e-9), dtype=np.float64)


def without_parts(faces: Sequence[Face]) -> list[Face]:
    """Drop each face that lies largely within a surer one, or holds one.

    Args:
        faces: Surest first.
    """
    kept: list[Face] = []
    for face in faces:
        shared, area, areas = _areas(face, kept)
        if (shared < PART * np.maximum(np.minimum(area, areas), 1e-9)).all():
            kept.append(face)
    return kept


def _areas(face: Face, others: Sequence[Face]) -> tuple[NDArray[np.float64], float, NDArray[np.float64]]:
    """Return what a face's box shares with each of the other boxes, its own area, and theirs."""
    boxes = np.array([other.box for other in others], np.float64).reshape(-1, 4)
    box = np.array(face.box)
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    return (
        np.prod(np.clip(sides, 0, None), axis=1),
        np.prod(box[2:] - box[:2]),
        np.prod(boxes[:, 2:] - boxes[:, :2], axis=1),
    )


def _average(faces: Sequence[Face]) -> Face:
    """Average faces by score; landmarks only of those that have as many as the surest."""
    weights = np.array([face.score for face in faces])
    left, top, right, bottom = map(float, np.average([face.box for face in faces], axis=0, weights=weights))
    best = faces[0]
    landmarks = None
    if best.landmarks:
        count = len(best.landmarks)
        alike = [(face.landmarks, face.score) for face in faces if face.landmarks and len(face.landmarks) == count]
        points = np.average([points for points, _ in alike], axis=0, weights=[score for _, score in alike])
        landmarks = tuple((float(x), float(y)) for x, y in points)
    return Face((left, top, right, bottom), best.score, landmarks)
