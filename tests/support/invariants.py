"""Invariants of chips and features: tests assert them of the product, traps show that planted errors violate them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml import storage
from ml.features.reader import split_table
from ml.features.record import FeaturesRecord
from ml.photographs.source import SUBSETS
from ml.vision import images
from spark_jobs import cutting

WIDTH, HEIGHT, MARGIN = 900, 720, 0.2
GRAY = (128, 128, 128)
QUARTERS = ((220, 20, 20), (20, 220, 20), (20, 20, 220), (240, 240, 240))  # above left and right, below left and right
ROTATIONS = (0, 90, 180, 270)
# Width and height of faces: chips stored as large as in the photograph, and one that is reduced to be stored.
FACES = ((120, 180), (90, 60), (160, 320))


def assert_chips_are_right(rotation, width, height):
    """Cut a face whose quarters have each their color, and compare the chip with one that is painted.

    A chip that is not turned as the photograph's Rotation says, that is not the square around the box with its margin,
    that has another size than in the photograph or lost its aspect ratio, is another picture.

    Args:
        rotation: The photograph's.
        width: The face's as it is seen, in pixels.
        height: The face's.
    """
    left, top = (WIDTH - width) // 2, (HEIGHT - height) // 2
    upright = np.full((HEIGHT, WIDTH, 3), GRAY, np.uint8)
    paint(upright, left, top, width, height)
    stored = np.rot90(upright, -rotation // 90)  # turned counterclockwise by Rotation it is upright again
    edges = (left / WIDTH, (left + width) / WIDTH, top / HEIGHT, (top + height) / HEIGHT)
    image = cutting.Image("train", "a", rotation, [turned_box(edges, rotation)])
    (made,) = cutting.cut_image(image, lambda: images.encode_png(stored), MARGIN, 16)
    assert made.status == cutting.CHIPPED
    assert made.face_px == pytest.approx(min(width, height))
    assert made.box_aspect == pytest.approx(height / width), "as it is seen, however the photograph is stored"
    side = round(max(width, height) * (1 + 2 * MARGIN))
    expected = np.full((side, side, 3), GRAY, np.uint8)
    paint(expected, (side - width) // 2, (side - height) // 2, width, height)
    expected = images.resize(expected, min(side, images.STORED_SIDE))
    found = images.decode(made.chip)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 3


def paint(image, left, top, width, height):
    """Paint the quarters of a face."""
    for number, color in enumerate(QUARTERS):
        y, x = top + number // 2 * height // 2, left + number % 2 * width // 2
        image[y : y + height // 2, x : x + width // 2] = color


def turned_box(edges, rotation):
    """Return the box in the stored photograph for a box of the upright one."""
    x_min, x_max, y_min, y_max = edges
    return {
        0: edges,
        90: (1 - y_max, 1 - y_min, x_min, x_max),
        180: (1 - x_max, 1 - x_min, 1 - y_max, 1 - y_min),
        270: (y_min, y_max, 1 - x_max, 1 - x_min),
    }[rotation]


def assert_features_are_labeled_and_split_as_their_chips(run):
    """Compare each face's index with its label's place in the order, and its side with its official subset."""
    features = run.pinned("featurize")
    order = features.record(FeaturesRecord).labels
    assert order == tuple(sorted(order))
    expected = {
        row["face_id"]: (row["label"], row["subset"])
        for row in read(run.pinned("chip").table("chips"), "face_id", "label", "subset")
    }
    found = {
        row["face_id"]: (order[row["label"]], split)
        for split in SUBSETS
        for row in read(features.table(split_table(split)), "face_id", "label")
    }
    assert found == expected


def read(uris, *columns):
    """Read columns of Parquet files, as dictionaries."""
    for uri in uris:
        yield from pq.read_table(pa.BufferReader(storage.read_bytes(uri)), columns=list(columns)).to_pylist()
