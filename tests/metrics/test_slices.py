"""Slices of the test faces: who is in which, what is measured, and what is named as worst."""

import json

import numpy as np
import pytest

from ml.features.columns import EVALUATED, SLICINGS
from ml.features.reader import present_columns, split_table
from ml.flow.records import Agreement
from ml.metrics.agreement import miap_metrics
from ml.metrics.bootstrap import ImageBootstrap
from ml.metrics.slices import ENOUGH_FACES, slice_differences, slice_metrics, slice_names
from support.features import make_features

LABELS = ("female", "male")


def measure(truth, predicted, **columns):
    return slice_metrics(LABELS, truth, predicted, columns, ImageBootstrap(np.arange(len(truth))))


@pytest.mark.parametrize(
    ("column", "values", "names"),
    [
        ("is_truncated", [1, 0, -1], ["truncated", "not truncated", "unknown"]),
        ("is_occluded", [1.0, np.nan], ["occluded", None]),
        (
            "face_px",
            [32.0, 47.9, 48.0, 159.0, 160.0],
            ["below 48 px"] * 2 + ["48 to 64 px", "96 to 160 px"] + ["160 px and more"],
        ),
        ("brightness", [0.0, 0.2, 0.64, 1.0], ["below 20%", "20 to 35%", "50 to 65%", "65% and more"]),
        ("rotation", [0, 90], ["0°", "90°"]),
        ("age_presentation", ["Young", None, "Unknown"], ["Young", None, "Unknown"]),
        (
            "source_class",
            ["Girl", "Man", None, "Boy", "Woman", "Cat"],
            ["Girl or Boy", "Woman or Man", None, "Girl or Boy", "Woman or Man", None],
        ),
    ],
)
def test_each_value_has_its_slice_and_null_none(column, values, names):
    assert slice_names(SLICINGS[column], np.array(values)).tolist() == names


def test_counts_and_shares_are_those_of_the_slice():
    truth = np.array([0, 0, 1, 1, 1, 0])
    predicted = np.array([0, 1, 1, 1, 0, 0])
    found = measure(truth, predicted, is_truncated=np.array([1, 1, 1, 0, 0, -1]))
    (part,) = found.by
    assert [row.name for row in part.slices] == ["truncated", "not truncated", "unknown"]
    truncated = part.slices[0]
    assert (truncated.faces, truncated.images) == (3, 3)
    assert truncated.accuracy.value == pytest.approx(2 / 3)
    assert truncated.recall["female"].value == 0.5
    assert truncated.recall["male"].value == 1
    assert truncated.recall_gap.value == -0.5
    assert part.slices[2].recall["male"].value is None
    assert sum(row.faces for row in part.slices) == 6
    json.dumps(found.json_values(), allow_nan=False)


def test_the_worst_slice_is_the_worst_of_those_with_enough_faces():
    count = 4 * ENOUGH_FACES
    truth = np.arange(count) % 2
    source = np.array(["good"] * (count - ENOUGH_FACES - 3) + ["bad"] * ENOUGH_FACES + ["tiny"] * 3)
    predicted = np.where(source == "good", truth, 0)
    predicted[source == "tiny"] = 1 - truth[source == "tiny"]
    found = measure(truth, predicted, source=source)
    assert (found.worst.title, found.worst.name) == ("Source of the box", "bad")
    assert found.worst.accuracy.value == 0.5
    gap = found.by[0].accuracy_gap
    assert (gap.best, gap.worst, gap.value) == ("good", "bad", 0.5)
    assert gap.low > 0
    assert found.widest_recall_gap.name == "good", "the only slice with enough faces of either label"


def test_what_holds_nearly_all_faces_is_no_worst_slice():
    count = 20 * ENOUGH_FACES
    truth = np.arange(count) % 2
    source = np.where(np.arange(count) < ENOUGH_FACES, "few", "nearly all")
    predicted = np.where(source == "few", truth, 0)
    assert measure(truth, predicted, source=source).worst.name == "few"


def test_absent_and_empty_columns_are_left_out_by_name():
    truth = np.array([0, 1])
    found = measure(truth, truth, age_presentation=np.array([None, None]), source=np.array(["xclick", None]))
    assert [part.column for part in found.by] == ["source"]
    assert found.by[0].without_value == 1
    assert len(found.left_out) == len(SLICINGS) - 1
    assert "Age presentation (MIAP)" in found.left_out
    assert found.worst is None


def test_only_columns_that_the_features_have_are_asked_for(tmp_path):
    features = make_features(tmp_path, {"train": (1, 1), "validation": (1, 1), "test": (1, 1)})
    assert present_columns(features, split_table("test"), (*EVALUATED, "none such")) == EVALUATED
    empty = features.model_copy(update={"files": []})
    assert present_columns(empty, split_table("test"), EVALUATED) == ()


def test_differences_of_two_models_are_paired_and_by_slice():
    right = {"new": np.arange(100) < 90, "old": np.arange(100) >= 30}
    source = np.array(["a"] * 50 + ["b"] * 50)
    overall, by = slice_differences({"source": source}, right, ImageBootstrap(np.arange(100)))
    assert overall.value == pytest.approx(0.2)
    assert 0 < overall.low < 0.2 < overall.high < 0.4
    assert [row.difference.value for row in by[0].slices] == pytest.approx([0.6, -0.2])
    assert by[0].slices[1].accuracy == pytest.approx({"new": 0.8, "old": 1.0})
    alike = {"new": np.ones(100, bool), "old": np.ones(100, bool)}
    same, _ = slice_differences({}, alike, ImageBootstrap(np.arange(100)))
    assert same.low < same.value == 0 < same.high, "models that agreed so far need not always"


def test_agreement_with_miap_counts_only_faces_that_it_labels():
    truth, predicted = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 1])
    miap = np.array(["female", "female", "male", None], dtype=object)
    counted = {"train": {"box": Agreement(agree=9, disagree=1, miap_unknown=5)}}
    found = miap_metrics(LABELS, truth, predicted, miap, counted, ImageBootstrap(np.arange(4)))
    assert (found.model.value, found.model.count) == (pytest.approx(1 / 3), 3)
    assert found.annotation.value == pytest.approx(2 / 3)
    (row,) = found.agreement
    assert (row.split, row.strategy, row.miap_unknown) == ("train", "box", 5)
    assert (row.share.value, row.share.count) == (0.9, 10)


def test_without_miap_there_is_no_agreement_to_tell():
    truth = np.array([0, 1])
    bootstrap = ImageBootstrap(np.arange(2))
    assert miap_metrics(LABELS, truth, truth, None, None, bootstrap) is None
    assert miap_metrics(LABELS, truth, truth, np.array([None, None]), None, bootstrap) is None


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (
            {"age_presentation": ["Young", "Middle"], "source_class": ["Girl", "Man"]},
            ["age_presentation", "source_class"],
        ),
        ({"source_class": ["Woman", "Boy"]}, ["source_class"]),
        ({"source_class": ["Woman", "Man"]}, []),
        ({"age_presentation": ["Unknown", None], "source": ["xclick", "xclick"]}, []),
    ],
)
def test_age_is_told_by_miap_or_by_boxes_of_children(columns, expected):
    truth = np.array([0, 1])
    found = measure(truth, truth, **{name: np.array(values) for name, values in columns.items()})
    assert [part.column for part in found.by_age] == expected
