"""Search a photograph with a border around it: detectors miss faces that fill what they see."""

from __future__ import annotations

import cv2
import numpy as np

from ml.vision.detectors.face import Face, merge
from ml.vision.detectors.search import Network
from ml.vision.images import Pixels

BORDERS = (0.5, 1.0)  # shares of the longer side, added on each side; a face of the whole photograph becomes 1/2 or 1/3
LARGE = 0.25  # share of the photograph's longer side from which a face counts; the other looks show smaller ones better
REDUCED_SIDE = 640  # maximum longer side in pixels before the border is added; no detector sees more


def search_bordered(photo: Pixels, network: Network, border: float) -> list[Face]:
    """Find the large faces of a photograph that is shown with a border, whole.

    On photographs without a face, networks often take a small thing for one there.

    Args:
        photo: RGB.
        network: The detector.
        border: Width of the border on each side, as a share of the photograph's longer side.

    Returns:
        Each face once, surest first, in the pixels of the photograph.
    """
    height, width = photo.shape[:2]
    scale = min(1.0, REDUCED_SIDE / max(width, height))
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        photo = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    added = round(max(photo.shape[:2]) * border)
    wide = cv2.copyMakeBorder(photo, added, added, added, added, cv2.BORDER_CONSTANT, value=network.blank)
    least = LARGE * max(photo.shape[:2])
    found = network.find(np.asarray(wide, dtype=np.uint8))
    large = [face for face in found if max(face.box[2] - face.box[0], face.box[3] - face.box[1]) >= least]
    return merge([face.moved(1 / scale, -added / scale, -added / scale) for face in large])
