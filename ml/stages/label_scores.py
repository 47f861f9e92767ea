"""Judge the label of every face by a model that did not learn from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ml.features.columns import IDS
from ml.features.outputs import OUTPUTS
from ml.features.reader import FeatureReader
from ml.metrics.label_quality import judge, out_of_fold
from ml.model.embedding import Embedder
from ml.stages.predictions import BATCH_SIZE
from ml.workflow.manifest import Manifest

SPLITS = ("train", "validation", "test")


def score_labels(features: Manifest, embedder: Embedder, labels: Sequence[str], excluded: frozenset[str]) -> pa.Table:
    """Return every face that can be judged, by rank.

    Args:
        features: The features attempt.
        embedder: The embedder of the model that was trained on them.
        labels: The labels by index.
        excluded: Ids of the training faces that the model was not trained on.

    Returns:
        Columns rank, face_id, image_id, split, label, predicted (the more probable label), probability (of the
        predicted label), score (the probability of the given label), suspect and excluded.

    Raises:
        GuardError: The pixels differ from those that were written.
        DataError: A split does not hold the faces that its manifest states.
    """
    estimated = pa.concat_tables([_estimate(features, embedder, split, excluded) for split in SPLITS])
    faces = estimated.filter(pc.is_finite(estimated["second"]))
    given, second = faces["given"].to_numpy(), faces["second"].to_numpy()
    learned = pc.and_(pc.equal(faces["split"], "train"), pc.invert(faces["excluded"])).to_numpy()
    quality = judge(given, second, faces["face_id"].to_numpy(), learned.astype(np.int64))
    names = np.array(labels)
    return pa.table(
        {
            "rank": quality.ranks,
            **{name: faces[name] for name in (*IDS, "split")},
            "label": names[given],
            "predicted": names[(second >= 0.5).astype(np.int64)],
            "probability": np.maximum(second, 1 - second),
            "score": quality.scores,
            "suspect": quality.suspect,
            "excluded": faces["excluded"],
        },
        OUTPUTS["suspects", "scores"].schema(),
    ).sort_by("rank")


def _estimate(features: Manifest, embedder: Embedder, split: str, excluded: frozenset[str]) -> pa.Table:
    """Return the faces of a split with the probability of the second label, estimated without the face.

    Only the faces that the network was trained on need an estimate out of fold.
    """
    reader = FeatureReader(features, split, IDS)
    parts = [
        (*embedder.embed(batch.pixels), batch.labels, *(batch.columns[name] for name in IDS))
        for batch in reader.checked_batches(BATCH_SIZE)
    ]
    embeddings, probabilities, given, face_ids, image_ids = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    left_out = np.array([split == "train" and face in excluded for face in face_ids], np.bool_)
    second = probabilities[:, 1].astype(np.float64)
    if split == "train":
        learned = ~left_out
        second[learned] = out_of_fold(embeddings[learned], given[learned], image_ids[learned])
    return pa.table(
        {
            "face_id": pa.array(face_ids, pa.string()),
            "image_id": pa.array(image_ids, pa.string()),
            "split": pa.array([split] * len(given), pa.string()),
            "given": given,
            "second": second,
            "excluded": left_out,
        }
    )
