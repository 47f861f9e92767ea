"""COCO JSON, read back with pycocotools."""

import json

import pytest
from pycocotools.coco import COCO

from support.exports import Face, Photograph, make_run, tables_of

SUBSETS = ("train", "validation", "test")


def read(out):
    """Every subset's file, as pycocotools reads it."""
    return {subset: COCO(str(file)) for subset in SUBSETS if (file := out / f"instances_{subset}.json").exists()}


def test_every_labeled_face_is_there_once_with_its_label_and_its_box_in_pixels(run, faces, export):
    out, record = export(run, "coco")
    found = {}
    for subset, coco in read(out).items():
        for note in coco.loadAnns(coco.getAnnIds()):
            assert note["face_id"] not in found
            found[note["face_id"]] = (subset, coco.loadImgs(note["image_id"])[0], note, coco.cats[note["category_id"]])
    sizes = {face.photograph.id: face.photograph.size for face in faces}
    labeled = [row for row in tables_of(run)["faces"] if row["reason"] == "labelled"]
    assert set(found) == {row["face_id"] for row in labeled}
    for row in labeled:
        subset, image, note, category = found[row["face_id"]]
        width, height = sizes[row["image_id"]]
        assert (subset, category["name"]) == (row["subset"], row["label"])
        assert (image["open_images_id"], image["width"], image["height"]) == (row["image_id"], width, height)
        assert image["file_name"] == f"{subset}/{row['image_id']}.jpg"
        left, top, right, bottom = (
            row[edge] * side
            for edge, side in (("x_min", width), ("y_min", height), ("x_max", width), ("y_max", height))
        )
        assert note["bbox"] == pytest.approx([left, top, right - left, bottom - top])
        assert note["area"] == pytest.approx((right - left) * (bottom - top))
        assert (note["is_occluded"], note["iscrowd"]) == (row["is_occluded"], 0)
    assert record.total == len(labeled)
    assert record.left_out == {"join_labels": {"group": 1, "no person box": 1}, "export": {}}


def test_categories_have_the_frozen_order_of_the_labels(run, export):
    out, _ = export(run, "coco")
    for coco in read(out).values():
        assert [(row["id"], row["name"]) for row in coco.loadCats(coco.getCatIds())] == [(1, "female"), (2, "male")]


def test_images_name_author_page_and_license(run, export):
    out, _ = export(run, "coco")
    listed = {row["image_id"]: row for row in tables_of(run)["images"]}
    for coco in read(out).values():
        licenses = {row["id"]: row for row in coco.dataset["licenses"]}
        for image in coco.loadImgs(coco.getImgIds()):
            row = listed[image["open_images_id"]]
            assert [image[name] for name in ("author", "title", "rotation")] == [
                row[name] for name in ("author", "title", "rotation")
            ]
            assert image["landing_page"] == row["landing_url"]
            assert licenses[image["license"]]["url"] == (row["license"] or "")
        assert {row["name"] for row in licenses.values()} == {"CC BY 2.0", "not stated"}


def test_ids_of_images_and_faces_are_unique_over_all_files(run, export):
    out, _ = export(run, "coco")
    for kind in ("imgs", "anns"):
        ids = [number for coco in read(out).values() for number in getattr(coco, kind)]
        assert sorted(ids) == list(range(1, len(ids) + 1))


def test_photographs_that_cannot_be_measured_are_counted_and_not_described(tmp_path, export):
    whole = Face(Photograph(1))
    absent, damaged = Face(Photograph(2, data=b"")), Face(Photograph(3, data=b"<html>no JPEG</html>"))
    out, record = export(make_run(tmp_path, [whole, absent, damaged]), "coco")
    (coco,) = read(out).values()
    assert [note["face_id"] for note in coco.anns.values()] == [whole.id]
    assert [image["open_images_id"] for image in coco.imgs.values()] == [whole.photograph.id]
    assert record.left_out["export"] == {"image absent": 1, "image unreadable": 1}
    assert coco.dataset["info"]["left_out"] == record.left_out


def test_a_subset_without_faces_has_no_file(tmp_path, export):
    out, record = export(make_run(tmp_path, [Face(Photograph(1))]), "coco")
    assert set(read(out)) == {"train"}
    assert record.faces["test"] == {"female": 0, "male": 0}


def test_the_description_says_what_the_labels_are(run, export):
    out, _ = export(run, "coco")
    info = json.loads((out / "instances_train.json").read_text())["info"]
    assert "perceived gender presentation" in info["description"]
    assert "not a person's gender or identity" in info["description"]
