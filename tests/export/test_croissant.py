"""The Croissant descriptions, read back with mlcroissant."""

import io

import mlcroissant as mlc
import pytest
from PIL import Image

from support.exports import tables_of


def records(out, name):
    """The records of a set as dictionaries by field, texts decoded."""
    found = []
    for record in mlc.Dataset(jsonld=str(out / "croissant.json")).records(name):
        values = {key.partition("/")[2]: value for key, value in record.items()}
        found.append({key: value.decode() if isinstance(value, bytes) else value for key, value in values.items()})
    return found


def pixels(chip):
    return Image.open(io.BytesIO(chip)).convert("RGB").tobytes()


def split_of(faces):
    return {face.id: face.split or face.photograph.subset for face in faces if face.split is not None}


def test_coco(run, export):
    out, record = export(run, "coco")
    labeled = {row["face_id"]: row for row in tables_of(run)["faces"] if row["reason"] == "labelled"}
    notes, pictures = records(out, "annotations"), {row["id"]: row for row in records(out, "images")}
    assert sorted(note["face_id"] for note in notes) == sorted(labeled)
    for note in notes:
        row, picture = labeled[note["face_id"]], pictures[note["image_id"]]
        assert note["category_id"] == record.labels.index(row["label"]) + 1
        assert note["bbox"][0] == pytest.approx(row["x_min"] * picture["width"])
        assert picture["open_images_id"] == row["image_id"]


def test_image_folder(run, faces, export):
    out, _ = export(run, "image-folder")
    chips = {row["face_id"]: row for row in tables_of(run)["chips"]}
    found = records(out, "chips")
    assert {row["face_id"]: row["split"] for row in found} == {
        face_id: split for face_id, split in split_of(faces).items() if face_id in chips
    }
    for row in found:
        assert row["label_folder"] == chips[row["face_id"]]["label"]
        assert row["image"].tobytes() == pixels(chips[row["face_id"]]["chip"])
    named = {row["face_id"]: row for row in records(out, "faces")}
    assert set(named) == {row["face_id"] for row in found}
    assert all(row["label"] == chips[face_id]["label"] for face_id, row in named.items())


def test_hugging_face(run, faces, export):
    out, record = export(run, "hugging-face")
    chips = {row["face_id"]: row for row in tables_of(run)["chips"]}
    found = {row["face_id"]: row for row in records(out, "chips")}
    assert {face_id: row["split"] for face_id, row in found.items()} == {
        face_id: split for face_id, split in split_of(faces).items() if face_id in chips
    }
    for face_id, row in found.items():
        assert record.labels[row["label"]] == chips[face_id]["label"]
        assert row["image"].convert("RGB").tobytes() == pixels(chips[face_id]["chip"])
        assert row["face_px"] == chips[face_id]["face_px"]


@pytest.mark.parametrize("form", ["coco", "image-folder", "hugging-face"])
def test_every_description_states_licenses_use_and_the_authors(run, export, form):
    out, record = export(run, form)
    metadata = mlc.Dataset(jsonld=str(out / "croissant.json")).metadata
    assert metadata.license == [
        "https://creativecommons.org/licenses/by/4.0/",
        "https://creativecommons.org/licenses/by/2.0/",
    ]
    assert not metadata.ctx.issues.errors
    assert not metadata.ctx.issues.warnings
    assert any("surveillance" in limit for limit in metadata.data_limitations)
    listed = {f"{row['subset']}/{row['image_id']}.jpg": row for row in tables_of(run)["images"]}
    credits = records(out, "photographs")
    assert len(credits) == record.photographs
    for row in credits:
        image = listed[row["photograph"]]
        assert (row["author"], row["title"], row["license"]) == (image["author"], image["title"], image["license"])
