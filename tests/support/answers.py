"""Predictions whose metrics were counted by hand."""

from __future__ import annotations

import io

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from ml import storage
from ml.metrics import classification
from ml.metrics.bootstrap import ImageBootstrap
from ml.metrics.classification import Classification
from ml.workflow.execution import Context

LABELS = ("female", "male")


def answers(counts: list[list[int]], sure: float = 0.9) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return labels and probabilities that give a confusion matrix (rows annotated, columns predicted)."""
    truth, second = [], []
    for annotated in (0, 1):
        for predicted in (0, 1):
            truth += [annotated] * counts[annotated][predicted]
            second += [sure if predicted else 1 - sure] * counts[annotated][predicted]
    probabilities = np.array(second, np.float32)
    return np.array(truth, np.int64), np.stack([1 - probabilities, probabilities], axis=1)


def measured(
    truth: NDArray[np.int64],
    probabilities: NDArray[np.floating],
    threshold: float = 0.5,
    images: ArrayLike | None = None,
) -> Classification:
    """Return the metrics of faces, each on its own image unless the images are given."""
    images = np.arange(len(truth)) if images is None else np.asarray(images)
    return classification.classification_metrics(LABELS, truth, probabilities, threshold, ImageBootstrap(images))


def assert_confusion_as_counted() -> None:
    """Check the confusion matrix, precision and recall of predictions that were counted by hand."""
    found = measured(*answers([[5, 1], [2, 12]]))
    assert found.confusion.json_values() == {
        "rows": "annotated",
        "columns": "predicted",
        "labels": ["female", "male"],
        "counts": [[5, 1], [2, 12]],
    }


def assert_only_test_faces(context: Context) -> None:
    """Check that an evaluation of features by `support.features` is about their test faces alone."""
    table = pq.read_table(io.BytesIO(storage.read_bytes(context.path("predictions.parquet")))).to_pydict()
    count = sum(context.inputs["featurize"].metrics["faces"]["test"].values())
    assert sorted(table["face_id"]) == sorted(f"test-{number}" for number in range(count))
