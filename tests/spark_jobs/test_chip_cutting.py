"""Chips are the upright squares around their boxes, as large as in the photograph; each photograph is read once."""

import numpy as np
import pytest

from ml.config.training import TrainingConfig
from ml.features.columns import CARRIED, names
from ml.release.photographs import open_photographs
from ml.vision import images
from spark_jobs import chip
from support.invariants import FACES, ROTATIONS, assert_chips_are_right
from support.spark_stages import whole


@pytest.mark.parametrize(("width", "height"), FACES)
@pytest.mark.parametrize("rotation", ROTATIONS)
def test_a_chip_is_the_upright_square_around_its_box(rotation, width, height):
    assert_chips_are_right(rotation, width, height)


def test_a_photograph_is_decoded_once_for_all_its_faces(sample_release, monkeypatch):
    photo = next(photo for photo in sorted((sample_release / "train").glob("*.jpg")) if whole(photo))
    decoded = []
    decode = images.decode
    monkeypatch.setattr(images, "decode", lambda data: decoded.append(len(data)) or decode(data))
    boxes = [*((x, x + 0.2, 0.1, 0.3) for x in (0.1, 0.4, 0.7)), (0.1, 0.11, 0.1, 0.3)]
    made = chip.cut_image(
        chip.Image("train", photo.stem, 0, boxes), open_photographs(str(sample_release)), margin=0.2, min_face_size=16
    )
    assert len(decoded) == 1
    assert [cut.status for cut in made] == ["chipped"] * 3 + ["too small"]
    assert [cut.chip is None for cut in made] == [False] * 3 + [True]
    assert all(cut.face_px for cut in made)


@pytest.mark.parametrize(("content", "status"), [(None, "image absent"), (b"", "image unreadable")])
def test_all_faces_of_a_photograph_share_its_fault(tmp_path, content, status):
    if content is not None:
        (tmp_path / "train").mkdir()
        (tmp_path / "train" / "a.jpg").write_bytes(content)
    image = chip.Image("train", "a", 0, [(0.1, 0.5, 0.1, 0.5)] * 2)
    assert chip.cut_image(image, open_photographs(str(tmp_path)), 0.2, 16) == [chip.Cut(status)] * 2


def test_the_rows_of_an_image_carry_what_its_faces_brought(spark, tmp_path):
    """If a batch holds two images, each row has the columns of its own face."""
    (tmp_path / "train").mkdir()
    for image_id in "ab":
        (tmp_path / "train" / f"{image_id}.jpg").write_bytes(images.encode_jpeg(np.zeros((200, 200, 3), np.uint8)))
    schema = (
        "image_id string, subset string, rotation int, face_id string, x_min double, x_max double, y_min double, "
        "y_max double, label string, source string, is_occluded tinyint, is_truncated tinyint, miap_label string, "
        "age_presentation string, reason string"
    )
    faces = [
        (image_id, "train", None, f"{image_id}{number}", 0.1, 0.5, 0.1, 0.4 + number / 10, *values, "labelled")
        for image_id in "ab"
        for number, values in enumerate([("male", "xclick", 0, -1, None, None), ("female", "", 1, 0, "male", "Older")])
    ]
    by_image = chip.group_by_image(spark.createDataFrame(faces, schema), 1)
    made = chip.cut_chips(by_image, open_photographs(str(tmp_path)), TrainingConfig()).collect()
    carried = names(CARRIED)
    found = sorted((tuple(row[name] for name in carried) for row in made), key=str)
    assert found == sorted(((face[3], *face[8:14]) for face in faces), key=str)
    assert {row.face_id: round(row.face_px) for row in made} == {"a0": 60, "a1": 80, "b0": 60, "b1": 80}
    assert {row.rotation for row in made} == {0}
    assert [row.first for row in sorted(made, key=lambda row: row.face_id)] == [True, False] * 2
