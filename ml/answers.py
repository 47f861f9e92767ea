"""What a model says of the faces of a split; of the pixels nothing is kept."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ml.calibration import given_confidence
from ml.data import Batch, FeatureReader, split_table
from ml.errors import PreprocessingError
from ml.guards import check_label_order, check_side
from ml.manifests import Manifest
from ml.metrics import check_answers, decide
from ml.model import Classifier
from ml.slices import COLUMNS, present_columns

BATCH_SIZE = 256
IDS = ("face_id", "image_id")
MIAP_LABEL = "miap_label"


@dataclass(frozen=True)
class Answers:
    """A model's answers.

    Attributes:
        labels: The labels by index.
        threshold: The second label is given where its probability is at least this.
        truth: Annotated label index of each face, shape (n,).
        probabilities: Shape (n, 2).
        columns: face_id, image_id, and those of the features' other columns about the faces that there are.
    """

    labels: tuple[str, str]
    threshold: float
    truth: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    columns: dict[str, NDArray[Any]]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The label index that each face was given, shape (n,)."""
        return decide(self.probabilities, self.threshold)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """Probability of the label that each face was given, shape (n,)."""
        return given_confidence(self.probabilities, self.predicted)

    def parquet(self) -> bytes:
        """A Parquet file of one row a face: ids, label, predicted, and the second label's probability."""
        names = np.array(self.labels, dtype=object)
        table = pa.table(
            {
                **{name: pa.array(self.columns[name], pa.string()) for name in IDS},
                "label": pa.array(names[self.truth], pa.string()),
                "predicted": pa.array(names[self.predicted], pa.string()),
                "probability": pa.array(self.probabilities[:, 1], pa.float32()),
            }
        )
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        return buffer.getvalue()


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

    The batches have the columns face_id and image_id, and as far as the features have them those of `ml.slices` and
    miap_label.

    Raises:
        GuardError: The pixels are not those that were written.
        DataError: The test split does not hold the faces that its manifest states.
    """
    table = split_table("test")
    columns = (*IDS, *present_columns(features, table, (*COLUMNS, MIAP_LABEL)))
    reader = FeatureReader(features, "test", columns)
    check_side("test", reader.split, "evaluation")
    for batch in reader.checked_batches(BATCH_SIZE):
        yield batch, [classifier.predict(batch.pixels) for classifier in classifiers]


class Collector:
    """Puts the parts of `Answers` together, batch by batch."""

    def __init__(self, labels: tuple[str, str], threshold: float) -> None:
        self._labels = labels
        self._threshold = threshold
        self._parts: list[tuple[NDArray[np.int64], NDArray[np.float32], dict[str, NDArray[Any]]]] = []

    def add(self, batch: Batch, probabilities: NDArray[np.float32]) -> None:
        """Take in a batch and its probabilities, shape (n, 2)."""
        self._parts.append((batch.labels, probabilities, batch.columns))

    def answers(self) -> Answers:
        """All that was taken in.

        Raises:
            DataError: There are no faces, or the model gives values that are no probabilities.
        """
        names = self._parts[0][2] if self._parts else {}
        truth = np.concatenate([part[0] for part in self._parts] or [np.zeros(0, np.int64)])
        probabilities = np.concatenate([part[1] for part in self._parts] or [np.zeros((0, 2), np.float32)])
        check_answers(truth, probabilities)
        columns = {name: np.concatenate([part[2][name] for part in self._parts]) for name in names}
        return Answers(self._labels, self._threshold, truth, probabilities, columns)
