"""Fits the range of the training faces, by which `ml.model.novelty` tells unusual ones."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from ml.features.reader import Batch, FeatureReader
from ml.model.classifier import Classifier
from ml.model.novelty import Looks, Novelty, look
from ml.workflow.manifest import Manifest

FACES = 20_000  # of a split at most, a sample because shards are shuffled; quantiles and a covariance need no more
BATCH = 256


def fit_novelty(classifier: Classifier, features: Manifest, excluded: Collection[str]) -> Novelty:
    """Fit the range of a model's training faces, with its validation faces for the distance.

    Args:
        classifier: The trained model.
        features: The features attempt.
        excluded: Ids of the training faces that the training left out.
    """
    looks, known, labels = [], [], []
    for batch in _some(FeatureReader(features, "train", ("face_px",), excluded=excluded)):
        looks.append(look(batch.pixels, batch.columns["face_px"], classifier.description.margin))
        known.append(classifier.predict_with_features(batch.pixels)[1])
        labels.append(batch.labels)
    held_out = [
        classifier.predict_with_features(batch.pixels)[1] for batch in _some(FeatureReader(features, "validation"))
    ]
    joined = Looks(
        brightness=np.concatenate([each.brightness for each in looks]),
        size=np.concatenate([each.size for each in looks]),
        sharpness=np.concatenate([each.sharpness for each in looks]),
    )
    return Novelty.fit(joined, np.concatenate(known), np.concatenate(labels), np.concatenate(held_out))


def _some(reader: FeatureReader) -> Iterator[Batch]:
    """Yield the first faces of a split."""
    seen = 0
    for batch in reader.batches(BATCH):
        yield batch
        seen += len(batch)
        if seen >= FACES:
            return
