"""Faults of a release are reported before any work starts, with the file, column or class by name."""

import re
import shutil

import pytest

from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError, DataError
from ml.flow.table import STAGES
from ml.photographs.files import HttpPhotographs
from ml.release.miap import presentation_labels
from ml.release.release import find_release, read_classes
from ml.workflow.opening import open_run

MIAP = "open_images_extended_miap/open_images_extended_miap_boxes_{}.csv"
TRAIN_BOXES = "2018_04/train/train-annotations-bbox.csv"


def refused(folder, tmp_path, error=DataError, **values):
    with pytest.raises(error) as raised:
        open_run(str(tmp_path / "storage"), "run", {"release": str(folder), **values})
    assert not (tmp_path / "storage").exists(), "nothing may be left by a run that was refused"
    return str(raised.value)


def test_the_official_layout_and_a_flat_folder_are_found(sample_release, tmp_path):
    release = find_release(str(sample_release))
    assert release.tables["boxes"]["train"].endswith(TRAIN_BOXES)
    assert release.tables["images"]["test"].endswith("2018_04/test/test-images-with-rotation.csv")
    assert release.holds_photographs
    assert read_classes(release.classes)["Human face"] == "/m/0dzct"

    flat = tmp_path / "flat"
    flat.mkdir()
    for file in sample_release.rglob("*.csv"):
        shutil.copy(file, flat)
    found = find_release(str(flat), photographs="https://example.org/images/")
    assert len(list(found.files())) == 13
    assert found.tables["miap"].keys() == {"train", "validation", "test"}
    assert found.photographs == HttpPhotographs("https://example.org/images")
    assert not found.holds_photographs


def test_no_release(tmp_path):
    assert "no release at" in refused(tmp_path / "absent", tmp_path)


def test_a_missing_file_is_named(release_copy, tmp_path):
    (release_copy / TRAIN_BOXES).unlink()
    assert TRAIN_BOXES in refused(release_copy, tmp_path)


def test_an_empty_file_is_named(release_copy, tmp_path):
    (release_copy / TRAIN_BOXES).write_bytes(b"")
    assert f"{TRAIN_BOXES} is empty" in refused(release_copy, tmp_path)


def test_a_missing_column_is_named(release_copy, tmp_path):
    file = release_copy / TRAIN_BOXES
    file.write_text(file.read_text().replace("IsDepiction", "Depicted", 1))
    message = refused(release_copy, tmp_path)
    assert "lacks the column IsDepiction" in message
    assert TRAIN_BOXES in message


def test_miap_is_optional_for_each_subset_and_its_arrival_redoes_what_reads_tables(release_copy, tmp_path):
    def opened():
        return open_run(str(tmp_path / "storage"), "run", {"release": str(release_copy)})

    whole = opened()
    (release_copy / MIAP.format("val")).rename(tmp_path / "later.csv")
    without = opened()
    assert without.view.release(without.deliveries[0]).tables["miap"].keys() == {"train", "test"}
    shutil.rmtree(release_copy / "open_images_extended_miap")
    last = opened()
    assert "miap" not in last.view.release(last.deliveries[0]).tables
    keys = {run.key(STAGES["extract"]) for run in (whole, without, opened())}
    assert len(keys) == 3


def test_a_miap_file_is_checked_where_there_is_one(release_copy, tmp_path):
    file = release_copy / MIAP.format("val")
    file.write_text(file.read_text().replace("AgePresentation", "Age", 1))
    message = refused(release_copy, tmp_path)
    assert "lacks the column AgePresentation" in message
    assert MIAP.format("val") in message
    file.write_bytes(b"")
    assert "is empty" in refused(release_copy, tmp_path)


def test_strategy_miap_needs_the_files_of_all_subsets(release_copy, tmp_path):
    for short in ("val", "test"):
        (release_copy / MIAP.format(short)).unlink()
    message = refused(release_copy, tmp_path, label_strategy="miap")
    assert MIAP.format("val") in message
    assert MIAP.format("test") in message
    assert MIAP.format("train") not in message


@pytest.mark.parametrize(
    "labels",
    [
        {"tree": ["Tree"], "woman": ["Woman"]},
        {"adult": ["Woman", "Man"], "child": ["Girl", "Boy"]},
        {"girl": ["Girl"], "woman": ["Woman"]},
        {"boyish": ["Boy", "Girl"], "man": ["Man"]},
    ],
)
def test_strategy_miap_is_refused_for_labels_that_miap_does_not_tell_apart(sample_release, tmp_path, labels):
    message = refused(sample_release, tmp_path, ConfigurationError, labels=labels, label_strategy="miap")
    assert "label_strategy" in message
    assert next(iter(labels)) in message


def test_the_presentations_map_to_labels_by_class_and_not_by_name():
    config = TrainingConfig(labels={"a": ["Man"], "b": ["Girl", "Dress"]})
    assert presentation_labels(config) == {"Predominantly Feminine": "b", "Predominantly Masculine": "a"}


def test_an_unknown_class_is_named_with_close_ones(sample_release, tmp_path):
    message = refused(sample_release, tmp_path, ConfigurationError, chip_class="Human fase")
    assert "chip_class" in message
    assert "Human face" in message
    message = refused(sample_release, tmp_path, ConfigurationError, labels={"a": ["Woman"], "b": ["Men"]})
    assert "labels" in message
    assert "'Men'" in message


def test_a_wrong_parameter_is_refused_before_the_release_is_looked_at(tmp_path):
    message = refused(tmp_path / "absent", tmp_path, ConfigurationError, images_per_label=0)
    assert "images_per_label = 0" in message


def test_the_photographs_digest_knows_an_added_a_removed_and_a_changed_photograph(release_copy):
    release = find_release(str(release_copy))
    seen = {release.photographs.digest()}
    photo = next((release_copy / "validation").glob("*.jpg"))
    (release_copy / "validation" / "new.jpg").write_bytes(photo.read_bytes())
    seen.add(release.photographs.digest())
    photo.write_bytes(photo.read_bytes()[:-1])
    seen.add(release.photographs.digest())
    photo.unlink()
    seen.add(release.photographs.digest())
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"photographs": "nowhere"}, r"photographs: there is nothing at file://.*/nowhere\."),
        (
            {"network": "transfer:MobileNetV2", "backbone_weights": "nowhere.weights.h5"},
            r"backbone_weights: there is no file file://.*/nowhere\.weights\.h5\.",
        ),
        ({"exclude_faces": "nowhere.csv"}, r"exclude_faces: there is no file file://.*/nowhere\.csv\."),
        ({"baseline": "./nowhere"}, r"baseline: file://.*/nowhere is no run and no finished attempt\."),
        ({"baseline": "nowhere"}, r"baseline: nowhere is no path\."),
    ],
)
def test_a_place_that_is_not_there_is_refused_before_any_work(sample_release, tmp_path, values, message):
    assert re.match(message, refused(sample_release, tmp_path, ConfigurationError, **values))


def test_places_are_absolute_in_a_run(sample_release, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photographs").mkdir()
    (tmp_path / "backbone.weights.h5").touch()
    (tmp_path / "faces.csv").write_text("face_id\n")
    places = {"photographs": "photographs", "backbone_weights": "backbone.weights.h5", "network": "transfer:ResNet50"}
    places["exclude_faces"] = "faces.csv"
    run = open_run("storage", "run", {"release": str(sample_release), **places})
    assert run.config.photographs == f"file://{tmp_path}/photographs"
    assert run.config.backbone_weights == f"file://{tmp_path}/backbone.weights.h5"
    assert run.config.exclude_faces == f"file://{tmp_path}/faces.csv"


def test_class_descriptions_that_are_not_utf_8_are_named(release_copy, tmp_path):
    (file,) = release_copy.rglob("class-descriptions-boxable.csv")
    file.write_bytes(file.read_bytes() + "/m/0x,Café\n".encode("latin-1"))
    assert "class-descriptions-boxable.csv is not UTF-8" in refused(release_copy, tmp_path)
