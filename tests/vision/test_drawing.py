"""Boxes turn with their photograph."""

import numpy as np
import pytest

from ml.vision import drawing, images


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_box_turned_with_its_image_holds_the_same_pixels(rotation):
    image = np.zeros((80, 160, 3), np.uint8)
    box = (0.25, 0.5, 0.125, 0.75)
    left, top, right, bottom = drawing.rectangle(box, 160, 80)
    image[top:bottom, left:right] = 255
    turned = images.turn_upright(image, rotation)
    height, width = turned.shape[:2]
    left, top, right, bottom = drawing.rectangle(drawing.turn_box(box, rotation), width, height)
    assert turned[top:bottom, left:right].min() == 255
    assert turned.sum() == turned[top:bottom, left:right].sum()


def test_pictures_of_different_heights_lie_side_by_side():
    one, other = np.zeros((4, 5, 3), np.uint8), np.ones((7, 2, 3), np.uint8)
    found = drawing.side_by_side([one, other])
    assert found.shape[0] == 7
    assert (found[:4, :5] == 0).all()
    assert (found[:, -2:] == 1).all()
    assert (found[4:, :5] == 255).all()
