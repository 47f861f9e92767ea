"""The drawn release holds what the published one holds, in the same places, and what each face really is."""

import csv
import filecmp
import io
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml.errors import ConfigurationError
from ml.sample import release as drawn_release
from ml.sample import scenes
from ml.sample.cartoons import Sitter, draw_scene
from ml.sample.geometry import Box
from ml.sample.release import SampleSummary, write_sample_release
from ml.sample.tables import Tables

SCENES, SEED = 60, 3
FACE = "/m/0dzct"
PEOPLE = {"/m/04yx4": "male", "/m/01bl7v": "male", "/m/03bt1vf": "female", "/m/05r655": "female"}
SUBSETS = ("train", "validation", "test")
BOXES = {
    "train": "2018_04/train/train-annotations-bbox.csv",
    "validation": "v5/validation-annotations-bbox.csv",
    "test": "v5/test-annotations-bbox.csv",
}
IMAGES = {
    "train": "2018_04/train/train-images-boxable-with-rotation.csv",
    "validation": "2018_04/validation/validation-images-with-rotation.csv",
    "test": "2018_04/test/test-images-with-rotation.csv",
}
MIAP = {
    subset: f"open_images_extended_miap/open_images_extended_miap_boxes_{short}.csv"
    for subset, short in zip(("train", "validation", "test"), ("train", "val", "test"), strict=True)
}
LABELS = {subset: f"v5/{subset}-annotations-human-imagelabels-boxable.csv" for subset in SUBSETS}


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> SampleSummary:
    return write_sample_release(tmp_path_factory.mktemp("drawn") / "release", SCENES, SEED)


@pytest.fixture(scope="module")
def out(summary: SampleSummary) -> Path:
    return summary.out


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def every(out: Path, paths: dict[str, str]) -> list[dict[str, str]]:
    return [row for path in paths.values() for row in read(out / path)]


def box(row: dict[str, str]) -> Box:
    return Box(*(float(row[name]) for name in ("XMin", "XMax", "YMin", "YMax")))


def inside(inner: Box, outer: Box) -> bool:
    return inner.clip(outer) == inner


def image_path(out: Path, image: dict[str, str]) -> Path:
    return out / image["Subset"] / f"{image['ImageID']}.jpg"


def test_files_lie_where_the_official_ones_lie(out: Path) -> None:
    files = {path.relative_to(out).as_posix() for path in out.rglob("*.csv")}
    tables = {path for paths in (BOXES, IMAGES, LABELS, MIAP) for path in paths.values()}
    assert files == {*tables, "v5/class-descriptions-boxable.csv", "truth.csv"}
    folders = {*SUBSETS, "2018_04", "v5", "open_images_extended_miap"}
    assert {path.name for path in out.iterdir()} == {*folders, "truth.csv"}
    assert not list(out.parent.glob(".*")), "the folder it was built in is gone"


def test_columns_are_the_official_ones(out: Path) -> None:
    boxes = (
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
    )
    images = (
        "ImageID,Subset,OriginalURL,OriginalLandingURL,License,AuthorProfileURL,Author,Title,OriginalSize,OriginalMD5,"
        "Thumbnail300KURL,Rotation"
    )
    miap = (
        "ImageID,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepictionOf,IsInsideOf,"
        "GenderPresentation,AgePresentation"
    )
    labels = "ImageID,Source,LabelName,Confidence"
    for paths, header in ((BOXES, boxes), (IMAGES, images), (LABELS, labels), (MIAP, miap)):
        for path in paths.values():
            assert (out / path).read_text(encoding="utf-8").splitlines()[0] == header


def test_classes_have_no_header_and_windows_line_ends(out: Path) -> None:
    lines = (out / "v5/class-descriptions-boxable.csv").read_bytes().split(b"\r\n")
    assert lines[-1] == b""
    assert b"/m/0dzct,Human face" in lines
    assert all(re.fullmatch(rb"/m/\w+,[\w ]+", line) for line in lines[:-1])
    described = {line.split(b",")[0].decode() for line in lines[:-1]}
    assert {row["LabelName"] for row in every(out, BOXES) + every(out, LABELS)} <= described


def test_each_image_is_in_one_subset_with_its_rows(out: Path) -> None:
    for subset in SUBSETS:
        images = read(out / IMAGES[subset])
        ids = {row["ImageID"] for row in images}
        assert len(ids) == len(images)
        assert {row["Subset"] for row in images} == {subset}
        assert all(re.fullmatch("[0-9a-f]{16}", image_id) for image_id in ids)
        assert {row["ImageID"] for row in read(out / BOXES[subset])} == ids
        assert {row["ImageID"] for row in read(out / LABELS[subset])} == ids
        assert {path.stem for path in (out / subset).iterdir()} <= ids
    counts = Counter(row["Subset"] for row in every(out, IMAGES))
    assert counts == {"train": 42, "validation": 9, "test": 9}


def test_boxes_are_in_range(out: Path) -> None:
    for row in every(out, BOXES):
        x_min, x_max, y_min, y_max = box(row)
        assert 0 <= x_min < x_max <= 1
        assert 0 <= y_min < y_max <= 1
        flags = [row[name] for name in ("IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside")]
        assert row["Confidence"] == "1"
        assert flags == ["-1"] * 5 if row["Source"] == "activemil" else set(flags) <= {"0", "1"}


def test_the_person_boxes_around_a_face_say_what_the_truth_says(out: Path) -> None:
    boxes = every(out, BOXES)
    truth = read(out / "truth.csv")
    assert Counter((row["ImageID"], box(row)) for row in boxes if row["LabelName"] == FACE) == Counter(
        (row["ImageID"], box(row)) for row in truth
    )
    for face in truth:
        around = {
            PEOPLE[row["LabelName"]]
            for row in boxes
            if row["ImageID"] == face["ImageID"] and row["LabelName"] in PEOPLE and inside(box(face), box(row))
        }
        own = {"labelled", "depiction", "group"}
        expected = {face["label"]} if face["kind"] in own else set()
        assert around == ({"female", "male"} if face["kind"] == "two labels" else expected)


def test_miap_boxes_every_person_with_the_true_presentation_or_unknown(out: Path) -> None:
    people = every(out, MIAP)
    truth = read(out / "truth.csv")
    assert len(people) == len(truth)
    assert {row["LabelName"] for row in people} == {"/m/01g317"}
    for face in truth:
        own = [p for p in people if p["ImageID"] == face["ImageID"] and inside(box(face), box(p))]
        assert len(own) == 1
        presentation = "Predominantly Feminine" if face["label"] == "female" else "Predominantly Masculine"
        assert own[0]["GenderPresentation"] in (presentation, "Unknown")
        assert own[0]["AgePresentation"] in (face["age"], "Unknown")
        assert own[0]["IsDepictionOf"] == str(int(face["kind"] == "depiction"))
        assert own[0]["IsGroupOf"] == str(int(face["kind"] == "group"))
    for column, words in (("GenderPresentation", 3), ("AgePresentation", 4)):
        counts = Counter(row[column] for row in people)
        assert len(counts) == words
        assert 0 < counts["Unknown"] < len(people) / 5


def test_flags_mark_depictions_and_groups(out: Path) -> None:
    faces = {(row["ImageID"], box(row)): row for row in every(out, BOXES) if row["LabelName"] == FACE}
    for row in read(out / "truth.csv"):
        face = faces[row["ImageID"], box(row)]
        assert face["IsDepiction"] == str(int(row["kind"] == "depiction"))
        assert face["IsGroupOf"] == str(int(row["kind"] == "group"))


def test_what_misleads_is_present(out: Path, summary: SampleSummary) -> None:
    assert set(summary.kinds) == {"labelled", "depiction", "group", "no person box", "two labels"}
    assert all(summary.kinds.values())
    assert summary.kinds == Counter(row["kind"] for row in read(out / "truth.csv"))
    boxes, images, labels = every(out, BOXES), every(out, IMAGES), every(out, LABELS)
    assert {row["Source"] for row in boxes if row["LabelName"] in PEOPLE} == {"xclick", "activemil"}
    for flag in ("IsOccluded", "IsTruncated"):
        assert {row[flag] for row in boxes if row["LabelName"] == FACE} == {"0", "1"}
    assert {row["Rotation"] for row in images} == {"", "0.0", "90.0", "180.0", "270.0"}
    for column in ("Author", "Title", "Thumbnail300KURL"):
        assert 0 < sum(row[column] == "" for row in images) < len(images) / 3
    titles = " ".join(row["Title"] for row in images)
    assert '"' in titles
    assert "," in titles
    assert "&amp;" in titles
    assert {row["Confidence"] for row in labels} == {"0", "1"}
    boxed = {(row["ImageID"], row["LabelName"]) for row in boxes}
    denied = {(row["ImageID"], row["LabelName"]) for row in labels if row["Confidence"] == "0"}
    assert denied & boxed, "a rater contradicts the boxes somewhere"
    assert {mid for _, mid in denied & boxed} <= set(PEOPLE)


def test_photographs_are_absent_or_cut_as_counted(out: Path, summary: SampleSummary) -> None:
    paths = [image_path(out, row) for row in every(out, IMAGES)]
    present = [path for path in paths if path.exists()]
    cut = [path for path in present if not path.read_bytes().endswith(b"\xff\xd9")]
    assert (len(paths), len(paths) - len(present), len(cut)) == (SCENES, summary.absent, summary.cut_short)
    assert summary.absent
    assert summary.cut_short
    assert summary.photographs == len(present)
    with Image.open(cut[0]) as image, pytest.raises(OSError, match="truncated"):
        image.load()


def test_rotation_turns_image_and_boxes_upright(out: Path, summary: SampleSummary, monkeypatch) -> None:
    """A scene drawn without turning is what the turned one becomes once it is turned back."""
    monkeypatch.setattr(scenes, "rotation_of", lambda number: 0)
    turned = {row["ImageID"]: row for row in every(out, IMAGES) if row["Rotation"] not in ("", "0.0")}
    assert len(turned) == summary.turned == 3
    for number in (9, 29, 49):
        row = turned[scenes.image_id_of(number, SEED)]
        tables = Tables()
        jpeg, _ = scenes.add_scene(tables, number, SEED)
        degrees = int(float(row["Rotation"]))
        with Image.open(image_path(out, row)) as stored, Image.open(io.BytesIO(jpeg)) as upright:
            righted = np.asarray(stored.rotate(degrees, expand=True), dtype=float)  # Pillow turns counterclockwise
            assert np.abs(righted - np.asarray(upright, dtype=float)).mean() < 3
        back = 4 - degrees // 90  # the clockwise quarters that equal this turn counterclockwise
        boxes = [r for r in every(out, BOXES) if r["ImageID"] == row["ImageID"]]
        for mine, theirs in zip(boxes, tables.boxes[row["Subset"]], strict=True):
            expected = [float(str(value)) for value in theirs[4:8]]
            assert list(box(mine).turn(back)) == pytest.approx(expected, abs=2e-6)


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    first, second = (write_sample_release(tmp_path / name, 10, seed=5).out for name in ("first", "second"))
    files = sorted(path.relative_to(first).as_posix() for path in first.rglob("*") if path.is_file())
    assert filecmp.cmpfiles(first, second, files, shallow=False) == (files, [], [])
    other = write_sample_release(tmp_path / "other", 10, seed=6).out
    assert (other / "truth.csv").read_bytes() != (first / "truth.csv").read_bytes()


def test_only_the_badge_tells_the_label() -> None:
    """Drawn from the same random numbers, the two labels differ inside the upper part of the face and nowhere else."""
    for seed in range(5):
        (female, there), (male, here) = (
            draw_scene(np.random.default_rng(seed), [Sitter(s)]) for s in ("female", "male")
        )
        assert there == here
        rows, columns = np.nonzero((np.asarray(female) != np.asarray(male)).any(axis=2))
        face = there[0].face
        assert len(rows)
        assert face.x_min < columns.min() / female.width < columns.max() / female.width < face.x_max
        assert face.y_min < rows.min() / female.height
        assert rows.max() / female.height < (face.y_min + face.y_max) / 2
        difference = np.asarray(female, dtype=float) - np.asarray(male, dtype=float)
        whole = difference[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert np.abs(whole.mean(axis=(0, 1))).max() < 3, "ring and cross cover the same area"


@pytest.mark.parametrize("content", ["file", "folder"])
def test_refuses_a_folder_with_content(tmp_path: Path, content: str) -> None:
    (tmp_path / "release").mkdir()
    target = tmp_path / "release" / "mine"
    target.mkdir() if content == "folder" else target.write_text("keep")
    with pytest.raises(ConfigurationError, match="not an empty folder"):
        write_sample_release(tmp_path / "release", 10)
    assert target.exists()


def test_refuses_too_few_scenes(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="at least 10"):
        write_sample_release(tmp_path / "release", 9)
    assert not list(tmp_path.iterdir())


def test_fills_an_empty_folder_and_leaves_nothing_when_it_fails(tmp_path: Path, monkeypatch) -> None:
    release = tmp_path / "release"
    release.mkdir()

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(drawn_release, "write_tables", fail)
        with pytest.raises(KeyboardInterrupt):
            write_sample_release(release, 10)
    assert [path.name for path in tmp_path.iterdir()] == ["release"]
    assert not list(release.iterdir())
    assert write_sample_release(release, 10).images == len(every(release, IMAGES)) == 10
