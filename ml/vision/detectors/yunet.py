"""YuNet, run by OpenCV's `FaceDetectorYN`, with a model file that the user provides: no package ships one."""

from __future__ import annotations

import cv2
import numpy as np

from ml.errors import ConfigurationError
from ml.vision.detectors.face import Face
from ml.vision.images import Pixels

SIDE = 640  # pixels of the longer side of what the network sees, as in its training
ADVICE = (
    "Name YuNet's ONNX file, face_detection_yunet_2023mar.onnx of github.com/opencv/opencv_zoo, in the parameter "
    "`detector_file`."
)
_OVERLAP = 0.3  # IoU from which OpenCV drops the less sure of two boxes
_CANDIDATES = 5000  # OpenCV's default


class YuNet:
    """Finds faces with a YuNet file (Wu et al., 2023, doi:10.1007/s11633-023-1423-y).

    Args:
        name: The file's name, for messages.
        content: The ONNX file.
        score: Minimum score of a face, 0 to 1.

    Raises:
        ConfigurationError: The file is not a YuNet.
    """

    side = SIDE
    blank = (0, 0, 0)  # what OpenCV pads pictures with

    def __init__(self, name: str, content: bytes, score: float) -> None:
        model, no_weights = np.frombuffer(content, np.uint8), np.zeros(0, np.uint8)
        try:
            self._network = cv2.FaceDetectorYN.create(
                "onnx", model, no_weights, (SIDE, SIDE), score, _OVERLAP, _CANDIDATES
            )
            self.find(np.zeros((SIDE, SIDE, 3), np.uint8))  # other networks load too, and have other outputs
        except (cv2.error, ValueError) as error:
            raise ConfigurationError(f"The detector's file {name} is not a YuNet that OpenCV reads.", ADVICE) from error

    def find(self, picture: Pixels) -> list[Face]:
        """Find the faces of a picture, reduced so that its longer side has `SIDE` pixels.

        Args:
            picture: RGB.
        """
        height, width = picture.shape[:2]
        scale = min(1.0, SIDE / max(width, height))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        if scale < 1:
            bgr = cv2.resize(bgr, size, interpolation=cv2.INTER_AREA)
        self._network.setInputSize(size)
        _, rows = self._network.detect(bgr)
        faces = []
        for row in () if rows is None else rows.tolist():
            left, top, wide, high, *points = row[:14]
            corners = list(zip(points[::2], points[1::2], strict=True))
            face = Face((left, top, left + wide, top + high), row[14], tuple(corners))
            faces.append(face.moved(1 / scale, 0.0, 0.0))
        return faces
