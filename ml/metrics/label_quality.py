"""Find the labels that a model contradicts: out-of-fold probabilities and confident learning.

The method is that of Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR
70 (2021), as implemented by cleanlab.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FOLDS = 5
# Confident learning alone compares with the mean. Two thirds of its suspects among real faces had the right label, and
# training without them lost accuracy (docs/labels.md).
SURER_THAN = 2 / 3
# Strong, because the network has already separated the embeddings of the faces that it was trained on.
REGULARIZATION = 0.01  # scikit-learn's C


@dataclass(frozen=True)
class LabelQuality:
    """The judgment of each label.

    Attributes:
        scores: The estimated probability of the given label ("self-confidence"); a low one speaks against the label.
        ranks: From 1, by rising score.
        suspect: Whether confident learning takes the label for an error, and the model is surer of the other label than
            it is for `SURER_THAN` of the faces that have it.
    """

    scores: NDArray[np.float64]
    ranks: NDArray[np.int64]
    suspect: NDArray[np.bool_]


def folds_of(
    labels: NDArray[np.int64], images: NDArray[np.object_], folds: int = FOLDS
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Divide faces into folds that hold the labels in like shares; all faces of an image are in the same fold.

    Args:
        labels: Each face's label index.
        images: Each face's image id.
        folds: The number of folds; fewer if a label is on fewer images.

    Returns:
        For each fold, the rows to fit on and the rows to predict; empty if a label is on fewer than two images.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    present = [len(set(images[labels == label])) for label in np.unique(labels)]
    count = min(folds, *present) if len(present) > 1 else 0
    if count < 2:
        return []
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=0)
    return [(fit, predict) for fit, predict in splitter.split(images, labels, images) if len(set(labels[fit])) > 1]


def out_of_fold(
    embeddings: NDArray[np.float32], labels: NDArray[np.int64], images: NDArray[np.object_], folds: int = FOLDS
) -> NDArray[np.float64]:
    """Predict each face's probability of the second label by a logistic regression fitted without its image.

    Args:
        embeddings: The faces' embeddings, shape (n, width).
        labels: Each face's label index, 0 or 1.
        images: Each face's image id.
        folds: See `folds_of`.

    Returns:
        Probabilities, shape (n,); NaN for faces that no fold predicts.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found = np.full(len(labels), np.nan)
    for fit, predict in folds_of(labels, images, folds):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=REGULARIZATION, max_iter=1000))
        model.fit(embeddings[fit], labels[fit])
        found[predict] = model.predict_proba(embeddings[predict])[:, 1]
    return found


def judge(
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    face_ids: NDArray[np.object_],
    estimators: NDArray[np.integer],
) -> LabelQuality:
    """Judge each label by the probabilities of a model that did not learn from the face.

    Args:
        labels: Each face's label index, 0 or 1.
        probabilities: Each face's probability of the second label.
        face_ids: Each face's id, which decides the order of equal scores.
        estimators: The number of the model that gave the probability. Confident learning treats the faces of each one
            separately, because one model may be surer than another.
    """
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    both = np.stack([1 - probabilities, probabilities], axis=1)
    scores = np.asarray(get_label_quality_scores(labels, both, method="self_confidence"), np.float64)
    ranks = np.empty(len(labels), np.int64)
    ranks[np.lexsort((face_ids, scores))] = np.arange(1, len(labels) + 1)
    suspect = np.zeros(len(labels), np.bool_)
    for rows in (estimators == estimator for estimator in np.unique(estimators)):
        if len(set(labels[rows])) > 1:
            # Of cleanlab's filters, this one marks the fewest labels, and more of those are wrong (docs/labels.md). One
            # process, because TensorFlow's must not be forked.
            issues = find_label_issues(labels[rows], both[rows], filter_by="confident_learning", n_jobs=1)
            suspect[rows] = issues & _sure(labels[rows], both[rows])
    return LabelQuality(scores, ranks, suspect)


def _sure(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether the model is surer of the label not given than it is for most faces that have that label."""
    limits = np.array([np.quantile(probabilities[labels == label, label], SURER_THAN) for label in (0, 1)])
    others = 1 - labels
    return np.asarray(probabilities[np.arange(len(labels)), others] >= limits[others], np.bool_)
