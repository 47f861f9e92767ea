"""Which images are picked: by class, subset, number and label, the same ones each time, none that is held."""

import csv

import pytest

from ml.config.download import DownloadConfig
from ml.download.annotations import Annotations, official_path
from ml.download.picking import pick, shares
from ml.errors import ConfigurationError, DataError, NothingNewError

SUBSETS = ("train", "validation", "test")
MIDS = {"Human face": "/m/0dzct", "Woman": "/m/03bt1vf", "Man": "/m/04yx4", "Girl": "/m/05r655", "Boy": "/m/01bl7v"}


def files_of(folder):
    tables = {"boxes": {subset: folder / official_path("boxes", subset) for subset in SUBSETS}}
    return Annotations(folder, tables)


@pytest.fixture
def files(sample_release):
    return files_of(sample_release)


def boxes(folder, subset):
    """The classes of an image's boxes that count, by image."""
    found = {}
    with (folder / official_path("boxes", subset)).open(newline="") as lines:
        for row in csv.DictReader(lines):
            if row["IsGroupOf"] != "1" and row["IsDepiction"] != "1":
                found.setdefault(row["ImageID"], set()).add(row["LabelName"])
    return found


def test_the_same_files_give_the_same_images(files):
    config = DownloadConfig(images=20)
    first = pick(config, files, set())
    assert pick(config, files, set()) == first
    assert first.count == len(first.names()) == 20


def test_images_have_a_box_of_a_class_that_is_no_group_and_no_depiction(files, sample_release):
    config = DownloadConfig(images=1000, classes=["Boy", "Picture frame"], balance={})
    found = pick(config, files, set())
    for subset in SUBSETS:
        wanted = {MIDS["Boy"], "/m/06z37_"}
        expected = {image for image, classes in boxes(sample_release, subset).items() if classes & wanted}
        assert set(found.images[subset]) == expected
        assert found.candidates[subset] == len(expected)


def test_labels_are_balanced_as_far_as_the_images_go(files, sample_release):
    found = pick(DownloadConfig(images=24, subsets={"train": 1.0}), files, set())
    assert list(found.images) == ["train"]
    counts = found.labels["train"]
    assert abs(counts["female"] - counts["male"]) <= 1
    classes = boxes(sample_release, "train")
    for label, names in (("female", ("Woman", "Girl")), ("male", ("Man", "Boy"))):
        having = [image for image in found.images["train"] if classes[image] & {MIDS[name] for name in names}]
        assert len(having) == counts[label]


def test_balance_ends_where_a_label_ends(tmp_path, caplog):
    """Six images of women and two of men give at most five: two pairs, and one more of the first label."""
    (tmp_path / "v5").mkdir()
    (tmp_path / "v5" / "class-descriptions-boxable.csv").write_text("".join(f"{m},{n}\r\n" for n, m in MIDS.items()))
    rows = ["ImageID,LabelName,IsGroupOf,IsDepiction"]
    for number in range(8):
        for name in ("Human face", "Woman" if number < 6 else "Man"):
            rows.append(f"{number:016x},{MIDS[name]},0,0")
    file = tmp_path / official_path("boxes", "train")
    file.parent.mkdir(parents=True)
    file.write_text("\n".join(rows) + "\n")
    files = Annotations(tmp_path, {"boxes": {"train": file}})
    found = pick(DownloadConfig(images=8, subsets={"train": 1}), files, set())
    assert found.labels == {"train": {"female": 3, "male": 2}}
    assert "3 images fewer than asked: no more that keep the labels balanced are left" in caplog.text
    caplog.clear()
    pick(DownloadConfig(images=100, subsets={"train": 1}), files, set())  # more than there are
    assert "95 images fewer than asked: no more that keep the labels balanced are left" in caplog.text


def test_held_images_are_not_picked_and_those_after_them_are(files):
    config = DownloadConfig(images=16)
    first = pick(config, files, set())
    held = {image for _, image in first.names()}
    second = pick(config, files, held)
    assert not held & {image for _, image in second.names()}
    assert second.count > 0


def test_when_no_image_is_left_there_is_nothing_to_do(files):
    config = DownloadConfig(images=1000, balance={})
    every = {image for _, image in pick(config, files, set()).names()}
    with pytest.raises(NothingNewError, match="No image with a box of Human face is left"):
        pick(config, files, every)


def test_an_unknown_class_is_named(files):
    with pytest.raises(ConfigurationError, match="no class 'human face'"):
        pick(DownloadConfig(classes=["human face"]), files, set())


@pytest.mark.parametrize(
    ("images", "subsets", "expected"),
    [
        (1000, {"train": 0.7, "validation": 0.15, "test": 0.15}, {"train": 700, "validation": 150, "test": 150}),
        (10, {"train": 0.7, "validation": 0.15, "test": 0.15}, {"train": 7, "validation": 2, "test": 1}),
        (1, {"train": 0.4, "validation": 0.3, "test": 0.3}, {"train": 1, "validation": 0, "test": 0}),
        (5, {"train": 0.0, "validation": 1.0}, {"validation": 5}),
    ],
)
def test_the_subsets_numbers_add_up(images, subsets, expected):
    assert shares(DownloadConfig(images=images, subsets=subsets)) == expected


def test_a_file_that_is_no_table_of_boxes_is_named(tmp_path, sample_release):
    file = tmp_path / "boxes.csv"
    file.write_text("<html>not here</html>\n")
    files = Annotations(sample_release, {"boxes": {"train": file}})
    with pytest.raises(DataError, match=r"boxes\.csv cannot be read"):
        pick(DownloadConfig(subsets={"train": 1}), files, set())
