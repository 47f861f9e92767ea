"""The image folder, read back with Keras and with Hugging Face's `imagefolder`."""

import csv

import pytest

from ml.export.image_folder import folder_of
from support.exports import Face, Photograph, make_run, tables_of


def placed(faces):
    """The chips that have a part, by part, label and id."""
    with_chip = [face for face in faces if face.reason == "labelled" and face.chipped and face.split is not None]
    return {(face.split or face.photograph.subset, face.label, face.id): face for face in with_chip}


def rows_of(out, part):
    with (out / part / "metadata.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_chip_with_a_split_is_a_file_with_the_same_bytes(run, faces, export):
    out, record = export(run, "image-folder")
    found = {(*file.relative_to(out).parts[:2], file.stem): file.read_bytes() for file in out.rglob("*.jpg")}
    chips = {row["face_id"]: row["chip"] for row in tables_of(run)["chips"]}
    assert set(found) == set(placed(faces))
    assert all(data == chips[face_id] for (_, _, face_id), data in found.items())
    assert record.total == len(found)
    assert record.left_out == {
        "join_labels": {"group": 1, "no person box": 1},
        "chip": {"too small": 1},
        "featurize": {"near-duplicate of a photograph in another split": 1},
    }


def test_metadata_name_label_license_author_and_page_of_each_chip(run, faces, export):
    out, _ = export(run, "image-folder")
    for part in ("train", "validation", "test"):
        expected = {face.id: face for (its, _, _), face in placed(faces).items() if its == part}
        rows = rows_of(out, part)
        assert sorted(row["face_id"] for row in rows) == sorted(expected)
        for row in rows:
            face = expected[row["face_id"]]
            photograph = face.photograph
            assert row["file_name"] == f"{face.label}/{face.id}.jpg"
            assert row["label"] == face.label
            assert row["photograph"] == f"{photograph.subset}/{photograph.id}.jpg"
            assert row["author"] == (photograph.author or "not stated")
            assert row["license"] == (photograph.license or "not stated")
            assert row["landing_page"] == f"https://example.org/{photograph.number}/release"


def test_keras_numbers_the_labels_as_the_run_does_even_where_a_part_lacks_one(run, export):
    import keras  # late: it takes seconds

    out, record = export(run, "image-folder")
    for part, faces in record.faces.items():
        data = keras.utils.image_dataset_from_directory(out / part, image_size=(40, 40), batch_size=None, verbose=False)
        assert data.class_names == ["female", "male"]
        labels = [int(label) for _, label in data]
        assert [labels.count(0), labels.count(1)] == [faces["female"], faces["male"]]


def test_hugging_face_reads_images_and_metadata(run, faces, export, load):
    out, _ = export(run, "image-folder")
    data = load(out)
    found = {(part, row["label"], row["face_id"]): row for part, rows in data.items() for row in rows}
    assert set(found) == set(placed(faces))
    for key, face in placed(faces).items():
        assert found[key]["author"] == (face.photograph.author or "not stated")
        assert found[key]["image"].size == (40, 40)


def test_without_featurize_the_parts_are_the_subsets(tmp_path, faces, export):
    out, record = export(make_run(tmp_path, faces, features=False), "image-folder")
    assert record.divided_by == "subset"
    assert "featurize" not in record.attempts
    ids = {file.stem: file.relative_to(out).parts[0] for file in out.rglob("*.jpg")}
    assert ids == {row["face_id"]: row["subset"] for row in tables_of(make_run(tmp_path, faces))["chips"]}


@pytest.mark.parametrize(
    ("label", "folder"),
    [
        ("Männlich", "Männlich"),
        ("a, b", "a, b"),
        ("a/b", "a%2Fb"),
        ("100%", "100%25"),
        ("..", "%2E%2E"),
        (".hidden", "%2Ehidden"),
        ("__cache", "%5F_cache"),
        ("C:\\x", "C%3A%5Cx"),
    ],
)
def test_a_label_becomes_a_folder_name_that_every_file_system_takes(label, folder):
    assert folder_of(label) == folder


def test_labels_with_a_slash_a_comma_and_the_name_of_a_split_come_back_as_they_are(tmp_path, export, load):
    labels = {"test": ["Woman"], 'x/y, "z"': ["Man"]}
    first, second = labels
    faces = [Face(Photograph(1), first), Face(Photograph(2), second), Face(Photograph(3, "validation"), second)]
    out, _ = export(make_run(tmp_path, faces, labels=labels), "image-folder")
    data = load(out)
    found = {part: sorted(row["label"] for row in rows) for part, rows in data.items()}
    assert found == {"train": sorted(labels), "validation": [second]}


def test_a_part_without_any_author_is_read_together_with_the_others(tmp_path, export, load):
    nobody = {"author": None, "license": None}
    faces = [Face(Photograph(1)), Face(Photograph(2, "validation", **nobody)), Face(Photograph(3, "test", **nobody))]
    out, _ = export(make_run(tmp_path, faces), "image-folder")
    data = load(out)
    assert [rows["author"][0] for rows in data.values()] == ["Ann", "not stated", "not stated"]
