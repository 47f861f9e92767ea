"""Predict the test split batch by batch, without keeping pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.errors import PreprocessingError
from ml.features.columns import EVALUATED, IDS
from ml.features.reader import Batch, FeatureReader, present_columns, split_table
from ml.features.record import FeaturesRecord
from ml.guards import check_label_order
from ml.metrics.classification import check_answers
from ml.metrics.predictions import TestPredictions
from ml.model.classifier import Classifier
from ml.workflow.manifest import Manifest

BATCH_SIZE = 256


def load_classifier(source: Manifest, features: Manifest, labels: Sequence[str]) -> Classifier:
    """Load a model and check that it matches the features.

    Raises:
        LabelOrderError: The features or the model order the labels differently.
        PreprocessingError: The features' chips do not have the size that the model takes.
        DataError: There is no model, or it is damaged.
    """
    stated = features.record(FeaturesRecord)
    check_label_order(labels, stated.labels, f"The features {features.uri}")
    classifier = Classifier.load(source, labels)
    if stated.chip_size != classifier.chip_size:
        raise PreprocessingError(
            f"The features' chips have {stated.chip_size} pixels per side, but the model {source.uri} takes "
            f"{classifier.chip_size}.",
            "Use a model and features of the same chip_size.",
        )
    return classifier


def ask(features: Manifest, classifiers: Sequence[Classifier]) -> Iterator[tuple[Batch, list[NDArray[np.float32]]]]:
    """Read the test split once, and yield each batch with the probabilities that each model predicts for it.

    The batches have the columns face_id and image_id, and those of `EVALUATED` that the features hold.

    Raises:
        GuardError: The pixels differ from those that were written.
        DataError: The test split does not hold the faces that its manifest states.
    """
    table = split_table("test")
    columns = (*IDS, *present_columns(features, table, EVALUATED))
    reader = FeatureReader(features, "test", columns)
    for batch in reader.checked_batches(BATCH_SIZE):
        yield batch, [classifier.predict(batch.pixels) for classifier in classifiers]


class Collector:
    """Collects `TestPredictions` batch by batch."""

    def __init__(self, labels: tuple[str, str], threshold: float) -> None:
        self._labels = labels
        self._threshold = threshold
        self._parts: list[tuple[NDArray[np.int64], NDArray[np.float32], dict[str, NDArray[Any]]]] = []

    def add(self, batch: Batch, probabilities: NDArray[np.float32]) -> None:
        """Add a batch and its probabilities, shape (n, 2)."""
        self._parts.append((batch.labels, probabilities, batch.columns))

    def answers(self) -> TestPredictions:
        """Return the predictions for all batches.

        Raises:
            DataError: There are no faces, or the model returned values outside 0 to 1.
        """
        names = self._parts[0][2] if self._parts else {}
        truth = np.concatenate([part[0] for part in self._parts] or [np.zeros(0, np.int64)])
        probabilities = np.concatenate([part[1] for part in self._parts] or [np.zeros((0, 2), np.float32)])
        check_answers(truth, probabilities)
        columns = {name: np.concatenate([part[2][name] for part in self._parts]) for name in names}
        return TestPredictions(self._labels, self._threshold, truth, probabilities, columns)
