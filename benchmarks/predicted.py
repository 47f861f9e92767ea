"""What a run's model predicts for the faces that it has not learned from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ml.model.classifier import Classifier
    from ml.workflow.run import Run


def predicted(run: Run, classifier: Classifier) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.object_]]:
    """Return calibrated probabilities (n, 2), label indices and ImageIDs of a run's validation and test faces."""
    from ml.features.reader import FeatureReader

    parts = [
        (classifier.predict(batch.pixels), batch.labels, batch.columns["image_id"])
        for split in ("validation", "test")
        for batch in FeatureReader(run.pinned("featurize"), split, columns=("image_id",)).batches(256)
    ]
    probabilities, truth, images = (np.concatenate(column) for column in zip(*parts, strict=True))
    return probabilities, truth, images
