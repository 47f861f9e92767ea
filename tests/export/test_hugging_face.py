"""The Hugging Face data set, read back with `datasets` and `huggingface_hub`."""

import math

import datasets
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard

from ml.export.hugging_face import write_hugging_face
from ml.export.source import open_source
from support.exports import Face, Photograph, make_run, tables_of


def test_every_chip_with_a_split_is_a_row_with_the_same_bytes(run, faces, export, load):
    out, _ = export(run, "hugging-face")
    data = load(out)
    assert data["train"].features["image"] == datasets.Image()
    assert data["train"].features["label"] == datasets.ClassLabel(names=["female", "male"])
    names = data["train"].features["label"].names
    raw = data.cast_column("image", datasets.Image(decode=False))
    found = {row["face_id"]: (part, row) for part, rows in raw.items() for row in rows}
    chips = {row["face_id"]: row for row in tables_of(run)["chips"]}
    listed = {row["image_id"]: row for row in tables_of(run)["images"]}
    parts = {face.id: face.split or face.photograph.subset for face in faces if face.split is not None}
    assert set(found) == set(chips) & set(parts)
    for face_id, (part, row) in found.items():
        chip, image = chips[face_id], listed[chips[face_id]["image_id"]]
        assert part == parts[face_id]
        assert row["image"] == {"bytes": chip["chip"], "path": f"{face_id}.jpg"}
        assert names[row["label"]] == chip["label"]
        for name in ("image_id", "subset", "rotation", "face_px", "source", "is_occluded", "is_truncated"):
            assert row[name] == chip[name], name
        for name in ("license", "author", "title"):
            assert row[name] == image[name], name
        assert row["landing_page"] == image["landing_url"]
    assert data["train"][0]["image"].size == (40, 40)


def test_a_split_without_faces_has_no_shard(tmp_path, export, load):
    out, _ = export(make_run(tmp_path, [Face(Photograph(1)), Face(Photograph(2, "test"))]), "hugging-face")
    assert sorted(load(out)) == ["test", "train"]


@pytest.mark.parametrize("count", [1, 2, 7])
def test_shards_are_as_many_as_their_names_say_and_hold_every_row_once(tmp_path, count):
    faces = [Face(Photograph(number)) for number in range(7)]
    source = open_source(make_run(tmp_path, faces).uri)
    (tmp_path / "out").mkdir()
    write_hugging_face(source, tmp_path / "out", math.ceil(source.chip_bytes / count))
    shards = sorted((tmp_path / "out" / "data").iterdir())
    assert [shard.name for shard in shards] == [f"train-{n:05d}-of-{count:05d}.parquet" for n in range(count)]
    lengths = [pq.ParquetFile(shard).metadata.num_rows for shard in shards]
    assert max(lengths) - min(lengths) <= 1
    ids = [face_id for shard in shards for face_id in pq.read_table(shard)["face_id"].to_pylist()]
    assert sorted(ids) == sorted(face.id for face in faces)


def test_row_groups_are_short_enough_for_a_page_of_a_viewer(tmp_path, monkeypatch, export):
    monkeypatch.setattr("ml.export.hugging_face.GROUP_ROWS", 3)
    out, _ = export(make_run(tmp_path, [Face(Photograph(number)) for number in range(8)]), "hugging-face")
    metadata = pq.ParquetFile(out / "data" / "train-00000-of-00001.parquet").metadata
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [3, 3, 2]


def test_the_card_says_what_the_labels_are_and_must_not_be_used_for(run, export):
    out, _ = export(run, "hugging-face")
    card = DatasetCard.load(out / "README.md")
    assert card.data.license == "other"
    assert card.data.task_categories == ["image-classification"]
    for words in (
        *(
            "perceived gender presentation",
            "not a person's gender or identity",
            "surveillance",
            "decisions about people",
        ),
        *("CC BY 4.0", "CC BY 2.0", "attribution.csv", "without warranty", "| join_labels | group | 1 |"),
        "does not name the author of 1 of them",
    ):
        assert words in card.text


@pytest.mark.parametrize("form", ["coco", "image-folder", "hugging-face"])
def test_a_run_about_other_labels_never_says_gender(tmp_path, export, form):
    labels = {"tame": ["Dog"], "wild": ["Fox"]}
    faces = [Face(Photograph(1), "tame"), Face(Photograph(2), "wild")]
    out, _ = export(make_run(tmp_path, faces, labels=labels, chip_class="Cat"), form)
    for file in out.rglob("*"):
        if file.is_file():
            assert b"gender" not in file.read_bytes().lower(), file
    assert "tame or wild" in (out / "README.md").read_text()
