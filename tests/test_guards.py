"""Tests of `ml.guards`: each plants a trap that the original notebook fell into."""

from __future__ import annotations

import numpy as np
import pytest

from ml.errors import DataError, GuardError, LabelOrderError, PreprocessingError, ProvenanceError, SplitLeakError
from ml.guards import (
    check_channel_sums,
    check_count,
    check_faults,
    check_label_order,
    check_pixels,
    check_reference,
    check_split,
)


def test_guards_are_data_errors_so_nothing_is_retried() -> None:
    assert issubclass(GuardError, DataError)


def test_label_order() -> None:
    check_label_order(["female", "male"], ("female", "male"), "The model")
    with pytest.raises(LabelOrderError, match=r"The model numbers the labels \['male', 'female'\]"):
        check_label_order(["female", "male"], ["male", "female"], "The model")


def test_split() -> None:
    check_split({"train": ["a", "a", "b"], "validation": ["c"], "test": []})
    with pytest.raises(SplitLeakError, match=r"1 images .*b \(train, test\)"):
        check_split({"train": ["a", "b", "b"], "validation": ["c"], "test": ["b", "b"]})


def test_rows_lost_and_doubled() -> None:
    check_count(3, 3, "Faces")
    for found in (2, 4):
        with pytest.raises(ProvenanceError, match=f"Faces: expected 3, found {found}"):
            check_count(3, found, "Faces")


def test_faults_are_all_named_with_their_counts() -> None:
    check_faults({"are cats": 0, "are dogs": 0}, "table faces")
    with pytest.raises(ProvenanceError, match="table faces holds invalid faces: 2 are cats, 5 are dogs"):
        check_faults({"are cats": 2, "are birds": 0, "are dogs": 5}, "table faces")


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.ones((2, 32, 32, 3), np.float32), "raw uint8"),
        (np.ones((2, 32, 32, 3), np.uint8), "already scaled"),
        (np.full((2, 48, 48, 3), 9, np.uint8), r"\(48, 48, 3\)"),
        (np.full((32, 32, 3), 9, np.uint8), "shape"),
        (np.full((2, 3, 32, 32), 9, np.uint8), "shape"),
    ],
)
def test_pixels(pixels: np.ndarray, expected: str) -> None:
    with pytest.raises(PreprocessingError, match=expected):
        check_pixels(pixels, 32)


def test_raw_pixels_pass() -> None:
    check_pixels(np.full((2, 32, 32, 3), 9, np.uint8), 32)
    check_pixels(np.zeros((0, 32, 32, 3), np.uint8), 32)


def test_channel_sums() -> None:
    check_channel_sums([1, 2, 3], [1, 2, 3], "Table train")
    with pytest.raises(PreprocessingError, match="red and blue are swapped"):
        check_channel_sums([1, 2, 3], [3, 2, 1], "Table train")
    with pytest.raises(PreprocessingError, match=r"Table train: .*\[1, 2, 4\]"):
        check_channel_sums([1, 2, 3], [1, 2, 4], "Table train")


def test_reference() -> None:
    check_reference(np.array([[0.2, 0.8]]), np.array([[0.2004, 0.7996]]))
    for found in ([[0.25, 0.75]], [[np.nan, np.nan]]):
        with pytest.raises(PreprocessingError, match="differ"):
            check_reference(np.array([[0.2, 0.8]]), np.array(found))


def test_a_reference_without_chips_proves_nothing() -> None:
    with pytest.raises(PreprocessingError, match="reference"):
        check_reference(np.zeros((0, 2)), np.zeros((0, 2)))
    with pytest.raises(PreprocessingError, match="shape"):
        check_reference(np.zeros((2, 2)), np.zeros((1, 2)))
