"""A release is recognized by its files, whatever its version and its folders; what is ambiguous is refused by name."""

import gzip
import shutil

import pytest

from ml import storage
from ml.errors import DataError
from ml.release.landing import is_landing
from ml.release.layout import OFFICIAL, places, version_name
from ml.release.note import seal
from ml.release.release import find_release, header, read_classes
from support.layouts import ONE_LIST, TRAIN_BOXES, files_of, images_of, write_layout

VERSIONS = (4, 5, 6, 7)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_release_is_recognized_by_its_files(sample_release, tmp_path, version, flat, compressed):
    release = find_release(str(write_layout(sample_release, tmp_path, version, flat, compressed)))
    assert release.version == ("V4 or V5" if flat and version < 6 else f"V{version}")
    assert read_classes(release.classes) == read_classes(find_release(str(sample_release)).classes)
    assert len(list(release.files())) == len(files_of(sample_release, version))
    assert list(release.tables["images"]) == (["all"] if version == 7 else ["train", "validation", "test"])
    assert header(release.tables["boxes"]["train"])[-1] == ("XClick4Y" if version > 5 else "IsInside")
    assert len(release.all_classes) == (3 if version > 5 else 0)
    assert not is_landing(storage.normalize(tmp_path))


@pytest.mark.parametrize(
    ("first", "last", "name"), [(5, 5, "V5"), (4, 5, "V4 or V5"), (5, 7, "V5, V6 or V7"), (7, 5, "V5 and V7, mixed")]
)
def test_a_version_is_named_as_far_as_the_files_tell(first, last, name):
    assert version_name(first, last) == name


def test_files_of_v5_to_v7_may_be_mixed(release_copy):
    """As download scripts do it that take the boxes of V6 with the labels and classes of V5."""
    shutil.move(release_copy / TRAIN_BOXES, release_copy / "oidv6-train-annotations-bbox.csv")
    assert find_release(str(release_copy)).version == "V6 or V7"
    shutil.move(release_copy / "oidv6-train-annotations-bbox.csv", release_copy / TRAIN_BOXES)
    (release_copy / "v7").mkdir()
    shutil.move(
        release_copy / "v5/class-descriptions-boxable.csv", release_copy / "v7/oidv7-class-descriptions-boxable.csv"
    )
    assert find_release(str(release_copy)).version == "V5 and V7, mixed"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (TRAIN_BOXES, f"{TRAIN_BOXES}.gz"),
        (TRAIN_BOXES, "train-annotations-bbox.csv"),
        (TRAIN_BOXES, "v6/oidv6-train-annotations-bbox.csv"),
        ("v5/test-annotations-bbox.csv", "2018_04/test/test-annotations-bbox.csv"),
        ("v5/class-descriptions-boxable.csv", "v6/oidv6-class-descriptions-boxable.csv"),
        ("v5/class-descriptions-boxable.csv", "class-descriptions-boxable.csv.gz"),
        (
            "v5/validation-annotations-human-imagelabels-boxable.csv",
            "v7/oidv7-val-annotations-human-imagelabels.csv",
        ),
        (images_of("train"), "v6/oidv6-train-images-with-labels-with-rotation.csv"),
        (images_of("train"), ONE_LIST),
        (
            "open_images_extended_miap/open_images_extended_miap_boxes_val.csv",
            "open_images_extended_miap_boxes_val.csv",
        ),
    ],
)
def test_two_files_of_the_same_rows_are_refused_and_both_named(release_copy, first, second):
    file = release_copy / second
    file.parent.mkdir(parents=True, exist_ok=True)
    content = (release_copy / first).read_bytes()
    file.write_bytes(gzip.compress(content) if second.endswith(".gz") else content)
    with pytest.raises(DataError) as raised:
        find_release(str(release_copy))
    assert {f"file://{release_copy}/{first}", f"file://{release_copy}/{second}"} <= set(
        raised.value.message.replace(": ", " ").rstrip(".").split(" ")
    )


def test_a_list_without_rotation_gives_way_to_the_one_with_it(release_copy):
    """Whoever copies the folder of a version gets both."""
    older = release_copy / "2018_04/test/test-images.csv"
    shutil.copy(release_copy / images_of("test"), older)
    assert find_release(str(release_copy)).tables["images"]["test"].endswith(images_of("test"))
    (release_copy / images_of("test")).unlink()
    assert find_release(str(release_copy)).tables["images"]["test"] == f"file://{older}"


def test_files_of_v4_are_not_mixed_with_later_ones(release_copy):
    old = release_copy / "2018_04" / "test" / "test-annotations-bbox.csv"
    shutil.move(release_copy / "v5" / "test-annotations-bbox.csv", old)
    with pytest.raises(DataError, match=rf"mixes versions: file://{old} is of V4, and .*v5/.* of a later one"):
        find_release(str(release_copy))


def test_a_missing_file_is_named_as_its_version_has_it(sample_release, tmp_path):
    write_layout(sample_release, tmp_path, version=7)
    (tmp_path / "v6/oidv6-train-annotations-bbox.csv").unlink()
    with pytest.raises(DataError) as raised:
        find_release(str(tmp_path))
    assert "has no v6/oidv6-train-annotations-bbox.csv (nor" in raised.value.message
    assert TRAIN_BOXES not in raised.value.message


def test_only_files_with_published_row_counts_are_compared(sample_release, tmp_path):
    def counted(version):
        release = find_release(str(write_layout(sample_release, tmp_path / str(version), version)))
        files = {table: set(by_subset.values()) for table, by_subset in release.tables.items()}
        return {table for table, uris in files.items() if uris <= release.counted}

    assert counted(4) == {"images"}
    assert counted(5) == {"labels", "boxes", "images"}
    assert counted(6) == counted(7) == {"boxes"}


def test_no_two_places_of_a_table_and_subset_are_the_same():
    for table in OFFICIAL:
        for subset in ("train", "validation", "test"):
            paths = [place.path for place in places(table, subset)]
            assert len(set(paths)) == len(paths)


def test_compressed_class_descriptions_that_are_cut_short_are_named(sample_release, tmp_path):
    write_layout(sample_release, tmp_path, version=5, compressed=True)
    file = tmp_path / "v5/class-descriptions-boxable.csv.gz"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"class-descriptions-boxable.csv.gz cannot be read: "):
        read_classes(find_release(str(tmp_path)).classes)


def test_a_compressed_table_that_is_cut_short_is_not_sealed(sample_release, tmp_path):
    write_layout(sample_release, tmp_path / "2024-01-01", version=7, compressed=True)
    file = tmp_path / "2024-01-01" / f"{ONE_LIST}.gz"
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    with pytest.raises(DataError, match=r"image_ids_and_rotation.csv.gz cannot be read: "):
        seal(str(file.parents[1]))
    file.write_bytes(whole)
    rows = seal(str(file.parents[1])).rows
    assert rows[f"{ONE_LIST}.gz"] == 61
    assert len(rows) == len(files_of(sample_release, 7)) - 1, "the class descriptions are not counted"


def test_a_file_whose_lines_end_in_carriage_returns_is_refused(tmp_path):
    file = tmp_path / "train-annotations-bbox.csv"
    file.write_bytes(b"ImageID,Source\ra,b\r")
    with pytest.raises(DataError, match="do not end in line feeds"):
        header(str(file))
    file.write_bytes(b"ImageID,Source\r\na,b\r\n")
    assert header(str(file)) == ["ImageID", "Source"]
