"""The perceptual hash of a photograph: 64 bits that stay nearly the same when it is scaled or compressed again.

It is the hash that the library ImageHash calls `phash`, computed by OpenCV. The library takes three times as long, most
of it in Pillow and in parts of SciPy that workers would import for nothing else (docs/decisions/0012-photographs.md).
"""

from __future__ import annotations

import cv2
import numpy as np

from ml.vision.images import Pixels

LOW = 8  # of the lowest frequencies in each direction, each gives a bit
THUMBNAIL_SIDE = 4 * LOW
ROWS_READ = 4 * THUMBNAIL_SIDE  # of a photograph, evenly spaced, which saves most of the time
# The library's cosine transform is not normalized. OpenCV's is, which makes the first row and column smaller.
SCALE = np.outer(*[np.array([2**0.5] + [1.0] * (LOW - 1), np.float32)] * 2)


def perceptual_hash(image: Pixels) -> int:
    """Return the 64-bit perceptual hash of an image as a signed integer, as tables store it."""
    gray = cv2.cvtColor(image[:: max(1, image.shape[0] // ROWS_READ)], cv2.COLOR_RGB2GRAY)
    thumbnail = cv2.resize(gray, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    low = cv2.dct(thumbnail.astype(np.float32))[:LOW, :LOW] * SCALE
    middle = low.size // 2
    median = np.sort(low, axis=None)[middle - 1 : middle + 1].mean()
    return int.from_bytes(np.packbits(low > median).tobytes(), signed=True)
