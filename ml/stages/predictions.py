"""What a model says of the faces of a split; of the pixels nothing is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.errors import PreprocessingError
from ml.features.reader import Batch, FeatureReader, present_columns, split_table
from ml.guards import check_label_order
from ml.metrics.classification import check_answers
from ml.metrics.predictions import IDS, MIAP_LABEL, TestPredictions
from ml.metrics.slices import COLUMNS
from ml.model.classifier import Classifier
from ml.workflow.manifest import Manifest

BATCH_SIZE = 256


def load_classifier(source: Manifest, features: Manifest, labels: Sequence[str]) -> Classifier:
    """Load a model that fits the features.

    Raises:
        LabelOrderError: Features or model number the labels otherwise.
        PreprocessingError: The features' chips are not of the size that the model takes.
        DataError: There is no model, or it is damaged.
    """
    check_label_order(labels, features.metrics["labels"], f"The features {features.uri}")
    classifier = Classifier.load(source, labels)
    if features.metrics["chip_size"] != classifier.chip_size:
        raise PreprocessingError(
            f"The features' chips have {features.metrics['chip_size']} pixels a side, the model {source.uri} takes "
            f"{classifier.chip_size}.",
            "Use a model and features of the same chip_size.",
        )
    return classifier


def ask(features: Manifest, classifiers: Sequence[Classifier]) -> Iterator[tuple[Batch, list[NDArray[np.float32]]]]:
    """Read the test split once: each batch with the probabilities that each of the models gives it.

    The batches have the columns face_id and image_id, and those that the features hold of miap_label and the columns of
    `ml.metrics.slices`.

    Raises:
        GuardError: The pixels are not those that were written.
        DataError: The test split does not hold the faces that its manifest states.
    """
    table = split_table("test")
    columns = (*IDS, *present_columns(features, table, (*COLUMNS, MIAP_LABEL)))
    reader = FeatureReader(features, "test", columns)
    for batch in reader.checked_batches(BATCH_SIZE):
        yield batch, [classifier.predict(batch.pixels) for classifier in classifiers]


class Collector:
    """Puts the parts of `TestPredictions` together, batch by batch."""

    def __init__(self, labels: tuple[str, str], threshold: float) -> None:
        self._labels = labels
        self._threshold = threshold
        self._parts: list[tuple[NDArray[np.int64], NDArray[np.float32], dict[str, NDArray[Any]]]] = []

    def add(self, batch: Batch, probabilities: NDArray[np.float32]) -> None:
        """Take in a batch and its probabilities, shape (n, 2)."""
        self._parts.append((batch.labels, probabilities, batch.columns))

    def answers(self) -> TestPredictions:
        """All that was taken in.

        Raises:
            DataError: There are no faces, or the model gives values that are no probabilities.
        """
        names = self._parts[0][2] if self._parts else {}
        truth = np.concatenate([part[0] for part in self._parts] or [np.zeros(0, np.int64)])
        probabilities = np.concatenate([part[1] for part in self._parts] or [np.zeros((0, 2), np.float32)])
        check_answers(truth, probabilities)
        columns = {name: np.concatenate([part[2][name] for part in self._parts]) for name in names}
        return TestPredictions(self._labels, self._threshold, truth, probabilities, columns)
