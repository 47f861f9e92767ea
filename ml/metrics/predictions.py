"""What a model predicts for the faces of the test split; no pixels are kept."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ml.features.columns import IDS
from ml.features.outputs import OUTPUTS
from ml.metrics.decision import decide, given_confidence


@dataclass(frozen=True)
class TestPredictions:
    """A model's predictions.

    Attributes:
        labels: The labels by index.
        threshold: The second label is predicted where its probability is at least this.
        truth: Annotated label index of each face, shape (n,).
        probabilities: Shape (n, 2).
        columns: face_id, image_id, and any other columns of the features that describe faces.
    """

    labels: tuple[str, str]
    threshold: float
    truth: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    columns: dict[str, NDArray[Any]]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The predicted label index of each face, shape (n,)."""
        return decide(self.probabilities, self.threshold)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """The probability of each face's predicted label, shape (n,)."""
        return given_confidence(self.probabilities, self.predicted)

    def parquet(self) -> bytes:
        """Return a Parquet file with one row per face: ids, label, predicted, and the second label's probability."""
        names = np.array(self.labels, dtype=object)
        table = pa.table(
            {
                **{name: self.columns[name] for name in IDS},
                "label": names[self.truth],
                "predicted": names[self.predicted],
                "probability": self.probabilities[:, 1],
            },
            OUTPUTS["evaluate", "predictions"].schema(),
        )
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        return buffer.getvalue()
