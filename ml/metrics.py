"""Metrics of a two-label classifier, each with the number of faces it rests on.

Index 1, the second label, is what a face is given when its probability is at least the decision threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, roc_auc_score

from ml.errors import DataError

CONFIDENCE = 0.95
SMALLEST_PROBABILITY = 1e-7  # float32 softmax gives exact zeros; Keras clips its cross-entropy at the same value


def decide(probabilities: NDArray[np.floating], threshold: float) -> NDArray[np.int64]:
    """The label index of each face.

    Args:
        probabilities: Shape (n, 2), rows that sum to 1.
        threshold: The second label is chosen where its probability is at least this.

    Returns:
        Shape (n,), 0 or 1.
    """
    return (probabilities[:, 1] >= threshold).astype(np.int64)


def proportion(successes: int, count: int) -> dict[str, Any]:
    """A share with its 95% interval by the score method (Wilson, 1927), which holds for small counts and near 0 and 1.

    Returns:
        `value`, `low`, `high` in [0, 1], None where `count` is 0, and `count`.
    """
    if count == 0:
        return {"value": None, "low": None, "high": None, "count": 0}
    interval = binomtest(successes, count).proportion_ci(CONFIDENCE, method="wilson")
    return {
        "value": successes / count,
        "low": float(interval.low),
        "high": float(interval.high),
        "count": count,
    }


def classification_metrics(
    labels: Sequence[str], truth: NDArray[np.integer], probabilities: NDArray[np.floating], threshold: float
) -> dict[str, Any]:
    """All metrics of the report, as JSON values.

    A metric that the faces do not define is None: recall of a label that no face has, precision of one that is never
    predicted, and ROC AUC and balanced accuracy where all faces have the same label.

    Args:
        labels: The two labels by index.
        truth: The annotated label index of each face, shape (n,).
        probabilities: Shape (n, 2), rows that sum to 1.
        threshold: Decision threshold, see `decide`.

    Returns:
        `labels`, `threshold`, `confidence`, `faces`, `accuracy`, `majority` (the label that most faces have, and the
        accuracy of always answering it), `beats_majority` (the accuracy's lower bound lies above that),
        `balanced_accuracy`, `by_label`, `auc`, `log_loss` (nats a face) and `confusion`.

    Raises:
        DataError: There are no faces, or a probability is not in [0, 1].
        ValueError: The shapes do not fit, or `truth` holds another index than 0 and 1.
    """
    count = len(truth)
    if len(labels) != 2 or np.shape(truth) != (count,) or np.shape(probabilities) != (count, 2):
        raise ValueError(f"expected truth (n,) and probabilities (n, 2), found {truth.shape}, {probabilities.shape}")
    if count == 0:
        raise DataError("There are no faces to evaluate on.", "The test split needs at least one labelled face.")
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("truth must hold the label indices 0 and 1")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():  # False for NaN
        raise DataError("The model gives values that are no probabilities.", "Its training diverged: train it again.")

    predicted = decide(probabilities, threshold)
    counts = confusion_matrix(truth, predicted, labels=[0, 1])
    by_label = {label: _label_metrics(counts, index) for index, label in enumerate(labels)}
    support = counts.sum(axis=1)
    commonest = int(support.argmax())
    accuracy = proportion(int(counts.trace()), count)
    majority = {"label": labels[commonest], "value": int(support[commonest]) / count, "count": count}
    both = bool((support > 0).all())
    recalls = [by_label[label]["recall"]["value"] for label in labels]
    chosen = np.clip(probabilities[np.arange(count), truth].astype(np.float64), SMALLEST_PROBABILITY, 1.0)
    return {
        "labels": list(labels),
        "threshold": threshold,
        "confidence": CONFIDENCE,
        "faces": count,
        "accuracy": accuracy,
        "majority": majority,
        "beats_majority": accuracy["low"] > majority["value"],
        "balanced_accuracy": {"value": sum(recalls) / 2 if both else None, "count": count},
        "by_label": by_label,
        "auc": {"value": float(roc_auc_score(truth, probabilities[:, 1])) if both else None, "count": count},
        "log_loss": {"value": float(-np.log(chosen).mean()), "count": count},
        "confusion": {"rows": "annotated", "columns": "predicted", "labels": list(labels), "counts": counts.tolist()},
    }


def _label_metrics(counts: NDArray[np.integer], index: int) -> dict[str, Any]:
    """Precision, recall and F1 of one label; rows of `counts` are annotated, columns predicted."""
    right, annotated, predicted = int(counts[index, index]), int(counts[index].sum()), int(counts[:, index].sum())
    together = annotated + predicted
    return {
        "precision": proportion(right, predicted),
        "recall": proportion(right, annotated),
        "f1": {"value": 2 * right / together if together else None, "count": int(counts.sum())},
        "support": annotated,
    }
