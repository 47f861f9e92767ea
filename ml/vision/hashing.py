"""The perceptual hash of a photograph: 64 bits that stay nearly the same when it is scaled or compressed again."""

from __future__ import annotations

import cv2
import imagehash
import numpy as np
from PIL import Image

from ml.vision.images import Pixels

BITS = 64
THUMBNAIL_SIDE = 32  # what `imagehash.phash` reduces an image to
ROWS_READ = 256  # of a photograph, evenly spaced: eight per row of the thumbnail


def perceptual_hash(image: Pixels) -> int:
    """Return the 64-bit perceptual hash of an image as a signed integer, as tables store it.

    It is `phash` of the library ImageHash. The thumbnail is made here, because Pillow takes longer to make it than to
    decode the photograph.
    """
    rows = image[:: max(1, image.shape[0] // ROWS_READ)]
    gray = cv2.cvtColor(rows, cv2.COLOR_RGB2GRAY)
    thumbnail = cv2.resize(gray, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    bits = imagehash.phash(Image.fromarray(np.asarray(thumbnail, dtype=np.uint8))).hash
    return int.from_bytes(np.packbits(bits).tobytes(), signed=True)
