"""Chips are the upright squares around their boxes, as large as in the photograph; each photograph is read once."""

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ml.features.columns import ASKED, CARRIED, names
from ml.photographs.opening import open_photographs
from ml.vision import images
from spark_jobs import chip, chipping, cutting
from support import photographs
from support.chips import chipping_of, face_table
from support.invariants import FACES, ROTATIONS, assert_chips_are_right
from support.spark_stages import whole

CASES = Path(__file__).parents[3] / "shared" / "cases" / "jpeg"
BOX = {"x_min": 0.1, "x_max": 0.5, "y_min": 0.1, "y_max": 0.5}
FACE = tuple(BOX.values())


@pytest.mark.parametrize(("width", "height"), FACES)
@pytest.mark.parametrize("rotation", ROTATIONS)
def test_a_chip_is_the_upright_square_around_its_box(rotation, width, height):
    assert_chips_are_right(rotation, width, height)


def test_a_photograph_is_read_and_decoded_once_for_all_its_faces(sample_release, monkeypatch):
    photo = next(photo for photo in sorted((sample_release / "train").glob("*.jpg")) if whole(photo))
    calls = []
    decode = images.EncodedImage.decode
    monkeypatch.setattr(images.EncodedImage, "decode", lambda *args: calls.append("decode") or decode(*args))
    boxes = [*((x, x + 0.2, 0.1, 0.3) for x in (0.1, 0.4, 0.7)), (0.1, 0.11, 0.1, 0.3)]
    made = cutting.cut_image(
        cutting.Image("train", photo.stem, 0, boxes), lambda: calls.append("read") or photo.read_bytes(), 0.2, 16
    )
    assert calls == ["read", "decode"]
    assert [cut.status for cut in made] == ["chipped"] * 3 + ["too small"]
    assert [cut.chip is None for cut in made] == [False] * 3 + [True]
    assert all(cut.face_px for cut in made)


def jpeg(pixels, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **{"quality": 92, **options})
    return buffer.getvalue()


def photograph(height, width):
    """Soft shapes with some grain, as photographs have."""
    y, x = np.mgrid[0:height, 0:width] * 8 / height
    waves = np.stack([np.sin(x + y), np.cos(2 * x - y), np.sin(3 * y)], axis=-1) * 90 + 128
    return (waves + np.random.default_rng(0).normal(0, 1, waves.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(("side", "reduction"), [(500, 1), (700, 2), (1300, 4), (2500, 8)])
@pytest.mark.parametrize("others", [0, 7])
def test_a_photograph_whose_faces_are_large_is_decoded_reduced_to_the_same_chip(monkeypatch, side, reduction, others):
    """The other side is not a multiple of the reduction."""
    pixels = photograph(side, side + others)
    content, box = jpeg(pixels), (0.2, 0.8, 0.2, 0.8)
    asked = []
    decode = images.EncodedImage.decode
    monkeypatch.setattr(
        images.EncodedImage, "decode", lambda image, by=1, warnings=None: asked.append(by) or decode(image, by)
    )
    (made,) = cutting.cut_image(cutting.Image("train", "a", 0, [box]), lambda: content, 0.2, 16)
    assert asked == [reduction]
    assert made.face_px == pytest.approx(0.6 * side)
    expected = images.cut_chip(decode(images.read_header(content)), box, 0.2)
    found = images.decode(made.chip)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 2.5


def test_one_small_face_keeps_the_photograph_from_being_reduced():
    content, boxes = jpeg(photograph(1500, 1500)), [(0.3, 0.6, 0.3, 0.6), (0.1, 0.2, 0.1, 0.2)]
    made = cutting.cut_image(cutting.Image("train", "a", 0, boxes), lambda: content, 0.2, 16)
    assert [images.decode(cut.chip).shape[0] for cut in made] == [256, 210]


@pytest.mark.parametrize(
    ("content", "status"),
    [(None, "image absent"), (b"", "image unreadable"), (b"too large", "image too large")],
)
def test_all_faces_of_a_photograph_share_its_fault(tmp_path, content, status, monkeypatch):
    if content == b"too large":
        content = jpeg(photograph(80, 80))
        monkeypatch.setattr(images, "MAX_PIXELS", 80 * 80 - 1)
    if content is not None:
        (tmp_path / "train").mkdir()
        (tmp_path / "train" / "a.jpg").write_bytes(content)
    chips, outcome = chipping.cut_faces(
        face_table([{"image_id": "a", "face_id": face, **BOX} for face in "xy"]), chipping_of(tmp_path)
    )
    assert chips.num_rows == 0
    assert outcome.faces == {status: 2}
    assert outcome.faults == {status: 1}
    assert outcome.examples == {status: ("train", "a")}


def test_a_photograph_that_cannot_be_opened_is_unreadable(tmp_path):
    (tmp_path / "train" / "a.jpg").mkdir(parents=True)
    _, outcome = chipping.cut_faces(face_table([{"image_id": "a", **BOX}]), chipping_of(tmp_path))
    assert outcome.faces == {"image unreadable": 1}


def test_a_photograph_of_which_the_decoder_warns_is_chipped_and_counted(tmp_path):
    (tmp_path / "train").mkdir()
    whole = photographs.encoded(photographs.picture(200, 200))
    for image_id, content in (("a", photographs.with_stray_bytes(whole)), ("b", whole)):
        (tmp_path / "train" / f"{image_id}.jpg").write_bytes(content)
    faces = face_table([{"image_id": image, "face_id": f"{image}{n}", **BOX} for image in "ab" for n in "12"])
    chips, outcome = chipping.cut_faces(faces, chipping_of(tmp_path))
    assert (outcome.faces, outcome.images, outcome.warned) == ({"chipped": 4}, 2, 1)
    odd, _, good, _ = (images.decode(chip).astype(int) for chip in chips.column("chip").to_pylist())
    assert np.abs(odd - good).max() <= 2
    both = chipping.Outcome()
    both.add(outcome)
    both.add(outcome)
    assert both.warned == 2


@pytest.mark.skipif(not CASES.is_dir(), reason="needs ../shared/cases")
def test_every_odd_file_ends_as_a_chip_or_a_counted_row():
    found = {}
    for file in CASES.glob("*.jpg"):
        (made,) = cutting.cut_image(cutting.Image("train", "a", 0, [FACE]), file.read_bytes, 0.2, 16)
        found[file.stem] = made.status
    assert found == {name: "image unreadable" if name == "missing_eoi" else "chipped" for name in found}


def test_the_rows_of_an_image_carry_what_its_faces_brought(tmp_path):
    """Each row has the columns of its own face, and the hash of its photograph."""
    (tmp_path / "train").mkdir()
    for image_id, pixels in (("a", photograph(200, 200)), ("b", photograph(200, 200)[::-1])):
        (tmp_path / "train" / f"{image_id}.jpg").write_bytes(jpeg(pixels))
    faces = face_table(
        {
            **{"image_id": image_id, "face_id": f"{image_id}{number}", "label": label, "is_occluded": occluded},
            **{"age_presentation": age, "x_min": 0.1, "x_max": 0.5, "y_min": 0.1, "y_max": 0.4 + number / 10},
        }
        for image_id in "ab"
        for number, (label, occluded, age) in enumerate([("male", 0, None), ("female", 1, "Older")])
    )
    chips, outcome = chipping.cut_faces(faces, chipping_of(tmp_path))
    assert chips.select(names(CARRIED)).equals(faces.select(names(CARRIED)))
    assert [round(size) for size in chips.column("face_px").to_pylist()] == [60, 80, 60, 80]
    assert chips.column("rotation").to_pylist() == [0] * 4
    hashes = chips.column("image_hash").to_pylist()
    assert hashes[0] == hashes[1] != hashes[2] == hashes[3]
    assert (outcome.images, outcome.faces) == (2, {"chipped": 4})


def test_a_task_repeated_writes_the_same_file_again(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.jpg").write_bytes(jpeg(photograph(200, 200)))
    work, faces = chipping_of(tmp_path), chip._stream(face_table([{"image_id": "a", **BOX}]))
    written = []
    for _ in range(2):
        chipping.chip_part(3, faces, work)
        (file,) = (tmp_path / "chips").iterdir()
        written.append(file.read_bytes())
    assert file.name == "part-00003.parquet"
    assert written[0] == written[1]
    assert pq.read_table(file).column("image_id").to_pylist() == ["a"]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_tasks_hold_whole_images_in_order(size):
    ids = ["a", "b", "b", "b", "c", "d", "d"]
    faces = face_table({"image_id": image, "face_id": f"{image}{row}", **BOX} for row, image in enumerate(ids))
    parts = [part.column("image_id").to_pylist() for part in chip.divide(faces, size)]
    assert [image for part in parts for image in part] == ids
    assert len({image for part in parts for image in set(part)}) == sum(len(set(part)) for part in parts)
    assert all(len(part) >= size for part in parts[:-1])


def test_the_faces_read_are_those_labeled_of_the_delivery_in_order(done):
    labelled = done.pinned("join_labels")
    faces = chip.read_faces(labelled.table("faces"), "release")
    assert faces.column_names == list(ASKED)
    assert faces.num_rows == labelled.ledger["labelled"]
    keys = list(zip(*(faces.column(name).to_pylist() for name in chip.ORDER), strict=True))
    assert keys == sorted(keys)
    assert chip.read_faces(labelled.table("faces"), "another").num_rows == 0


def test_photographs_are_read_from_their_place(sample_release):
    photo = next(photo for photo in sorted((sample_release / "train").glob("*.jpg")) if whole(photo))
    assert open_photographs(str(sample_release)).read("train", photo.stem) == photo.read_bytes()
