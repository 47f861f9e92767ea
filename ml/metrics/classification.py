"""Metrics of a two-label classifier, each with the number of faces it rests on and an interval clustered by image.

Index 1, the second label, is what a face is given when its probability is at least the decision threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from ml.errors import DataError, MetricsError
from ml.guards import check_confusion
from ml.metrics.bootstrap import ImageBootstrap
from ml.metrics.calibration import face_log_losses
from ml.metrics.decision import decide
from ml.metrics.estimate import CONFIDENCE, METHOD, difference, estimate, proportion, ratios


def check_answers(truth: NDArray[np.integer], probabilities: NDArray[np.floating]) -> None:
    """Check that there is something to measure.

    Raises:
        DataError: There are no faces, or a probability is not in [0, 1].
        ValueError: The shapes do not fit, or `truth` holds another index than 0 and 1.
    """
    count = len(truth)
    if np.shape(truth) != (count,) or np.shape(probabilities) != (count, 2):
        raise ValueError(f"expected truth (n,) and probabilities (n, 2), found {truth.shape}, {probabilities.shape}")
    if count == 0:
        raise DataError("There are no faces to evaluate on.", "The test split needs at least one labelled face.")
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("truth must hold the label indices 0 and 1")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():  # False for NaN
        raise DataError("The model gives values that are no probabilities.", "Its training diverged: train it again.")


def check_headline(metrics: Mapping[str, Any]) -> None:
    """Check that the accuracy can be told from guessing: it has its interval, and the majority baseline beside it.

    Other numbers may be undefined or without an interval, and are shown so; the accuracy of any faces has one.

    Args:
        metrics: As `classification_metrics` gives them.

    Raises:
        MetricsError: It names what is missing.
    """
    needed = {"accuracy": ("value", "low", "high"), "majority": ("label", "value")}
    missing = [
        f"{name}.{part}" for name, parts in needed.items() for part in parts if metrics.get(name, {}).get(part) is None
    ]
    if metrics.get("beats_majority") is None:
        missing.append("beats_majority")
    if missing:
        raise MetricsError(
            f"The metrics of the test faces lack {', '.join(missing)}: their accuracy cannot be told from guessing.",
            "No report is written of them; evaluate again with metrics that hold the baseline and the interval.",
        )


def classification_metrics(
    labels: Sequence[str],
    truth: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    threshold: float,
    bootstrap: ImageBootstrap,
) -> dict[str, Any]:
    """How often and on whom the answers agree with the annotators, as JSON values.

    Every number is a mapping of `value`, `low`, `high` (95% interval), `count` (faces) and `images`. A value that the
    faces do not define is None: recall of a label that no face has, precision of one that is never predicted, and the
    ranking metrics, balanced accuracy and recall gap where all faces have the same label.

    Args:
        labels: The two labels by index.
        truth: The annotated label index of each face, shape (n,).
        probabilities: Shape (n, 2), rows that sum to 1.
        threshold: Decision threshold, see `decide`.
        bootstrap: Of the faces' images.

    Returns:
        `labels`, `threshold`, `confidence`, `intervals` (how they were made), `faces`, `images`, `accuracy`,
        `majority` (the label that most faces have, and the accuracy of always answering it), `beats_majority` (the
        accuracy's lower bound lies above that), `balanced_accuracy`, `recall_gap`, `by_label`, `auc`,
        `log_loss` (nats a face) and `confusion`.

    Raises:
        DataError, ValueError: As `check_answers`.
        MetricsError: The confusion matrix is not what it says.
    """
    check_answers(truth, probabilities)
    count = len(truth)
    predicted = decide(probabilities, threshold)
    counts = confusion_matrix(truth, predicted, labels=[0, 1])
    check_confusion(counts, truth, predicted)
    support = counts.sum(axis=1)
    commonest = int(support.argmax())
    everyone, right = np.ones(count, bool), predicted == truth
    annotated, given = [truth == index for index in (0, 1)], [predicted == index for index in (0, 1)]
    parts = [
        *((right, annotated[index]) for index in (0, 1)),
        *((right, given[index]) for index in (0, 1)),
        *((right, annotated[index] | given[index]) for index in (0, 1)),
        (right, everyone),
        (annotated[commonest], everyone),
    ]
    (*by_label, accuracy, majority), share_draws = bootstrap.drawn_shares(parts)
    recalls, precisions, overlaps = by_label[:2], by_label[2:4], by_label[4:]
    balanced, gap = _balance(labels, recalls, share_draws[:, :2], count, bootstrap.images)
    losses = face_log_losses(probabilities, truth)
    draws = bootstrap.sums([losses, everyone])
    ranking = _ranking(truth, probabilities, bootstrap)
    return {
        "labels": list(labels),
        "threshold": threshold,
        "confidence": CONFIDENCE,
        "intervals": METHOD,
        "faces": count,
        "images": bootstrap.images,
        "accuracy": accuracy,
        "majority": {"label": labels[commonest], **majority},
        "beats_majority": accuracy["low"] > majority["value"],
        "balanced_accuracy": balanced,
        "recall_gap": gap,
        "by_label": {
            label: {
                "precision": precisions[index],
                "recall": recalls[index],
                "f1": _f1(overlaps[index]),
                "average_precision": ranking[f"average precision {index}"],
                "support": int(support[index]),
            }
            for index, label in enumerate(labels)
        },
        "auc": ranking["auc"],
        "log_loss": estimate(float(losses.mean()), ratios(draws[:, 0], draws[:, 1]), count, bootstrap.images),
        "confusion": {"rows": "annotated", "columns": "predicted", "labels": list(labels), "counts": counts.tolist()},
    }


def _balance(
    labels: Sequence[str], recalls: Sequence[dict[str, Any]], draws: NDArray[np.float64], count: int, images: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Balanced accuracy, the mean of both recalls; and the gap, the better recall less the worse one.

    The interval of the gap is that of the signed difference, so that it reaches below 0 where the data do not tell
    which of the two labels is served worse.
    """
    if any(recall["value"] is None for recall in recalls):
        nothing = {"value": None, "low": None, "high": None, "count": count, "images": images}
        return nothing, {**nothing, "better": None, "worse": None}
    better, worse = (1, 0) if recalls[1]["value"] > recalls[0]["value"] else (0, 1)
    gap = difference(recalls[better], recalls[worse], draws[:, better] - draws[:, worse])
    # The mean is half the difference of one recall and of the other one's share of errors.
    missed = {
        **recalls[1],
        "value": 1 - recalls[1]["value"],
        "low": 1 - recalls[1]["high"],
        "high": 1 - recalls[1]["low"],
    }
    summed = difference(recalls[0], missed, draws.sum(axis=1) - 1)
    balanced = {name: (summed[name] + 1) / 2 for name in ("value", "low", "high")}
    return (
        {**balanced, "count": count, "images": images},
        {**gap, "count": count, "images": images, "better": labels[better], "worse": labels[worse]},
    )


def _f1(overlap: dict[str, Any]) -> dict[str, Any]:
    """F1 of a label, 2J / (1 + J) of J, the right faces' share of all that are annotated or predicted so.

    The interval is J's, so transformed, since F1 rises with J.
    """
    bounds = {name: overlap[name] for name in ("value", "low", "high")}
    return {**overlap, **{name: None if j is None else 2 * j / (1 + j) for name, j in bounds.items()}}


def _ranking(
    truth: NDArray[np.integer], probabilities: NDArray[np.floating], bootstrap: ImageBootstrap
) -> dict[str, dict[str, Any]]:
    """ROC AUC, and the average precision of either label.

    Where every pair of faces is in the right order, so is every resample's. Then the lower bound is Wilson's for as
    many trials as the rarer label has images.
    """
    count, images = len(truth), bootstrap.images
    by_label = [bootstrap.count_images(truth == index) for index in (0, 1)]
    if not all(by_label):
        nothing = {"value": None, "low": None, "high": None, "count": count, "images": images}
        return dict.fromkeys(("auc", "average precision 0", "average precision 1"), nothing)
    second = bootstrap.ranking(truth, probabilities[:, 1])
    first = bootstrap.ranking(1 - truth, probabilities[:, 0])
    draws = {
        "auc": second["auc"],
        "average precision 0": first["average precision"],
        "average precision 1": second["average precision"],
    }
    found = {name: estimate(values[0], values[1:], count, images) for name, values in draws.items()}
    for value in found.values():
        if value["low"] is None or value["low"] == value["high"]:
            wilson = proportion(round(value["value"] * min(by_label)), min(by_label))
            value["low"], value["high"] = min(wilson["low"], value["value"]), max(wilson["high"], value["value"])
    return found
