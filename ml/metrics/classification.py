"""Metrics of a two-label classifier, each with the number of faces it rests on and an interval clustered by image.

A face is predicted as index 1, the second label, when that label's probability is at least the decision threshold.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ml.errors import DataError
from ml.flow.record import Record
from ml.metrics.bootstrap import ImageBootstrap
from ml.metrics.calibration import face_log_losses
from ml.metrics.decision import decide
from ml.metrics.estimate import CONFIDENCE, METHOD, Bounded, Estimate, difference, estimate, proportion, ratios


class _Labelled(Record):
    label: str


class Majority(Bounded, _Labelled):  # the fields of the base on the right come first in the JSON
    """The accuracy of always predicting the most frequent label.

    Attributes:
        label: The most frequent label.
    """


class RecallGap(Estimate):
    """The higher recall minus the lower one.

    Attributes:
        better: The label with the higher recall; None if the gap is undefined.
        worse: The label with the lower recall; None if the gap is undefined.
    """

    better: str | None
    worse: str | None


class LabelMetrics(Record):
    """The metrics of one label.

    Attributes:
        precision: Share of the faces with this predicted label that are annotated with it; undefined without any.
        recall: Share of the faces with this annotated label that are predicted with it; undefined without any.
        f1: Harmonic mean of precision and recall.
        average_precision: Mean precision over the label's faces.
        support: Number of faces annotated with the label.
    """

    precision: Estimate
    recall: Estimate
    f1: Estimate
    average_precision: Estimate
    support: int


class Confusion(Record):
    """The confusion matrix.

    Attributes:
        rows: What the rows stand for.
        columns: What the columns stand for.
        labels: The labels of rows and columns, in order.
        counts: Number of faces by row and column.
    """

    rows: str = "annotated"
    columns: str = "predicted"
    labels: list[str]
    counts: list[list[int]]


class Classification(Record):
    """How often, and for which labels, the predictions agree with the annotators.

    Without its interval and the majority baseline an accuracy does not show whether the model beats guessing. A record
    without either of them fails validation, so no report can omit them.

    Attributes:
        labels: The labels by index.
        threshold: The second label is predicted where its probability is at least this.
        confidence: Confidence level of the intervals.
        intervals: How the intervals were computed.
        faces: Number of test faces.
        images: Number of images that the test faces are on.
        accuracy: Share of the faces that are predicted as annotated.
        majority: The majority baseline.
        beats_majority: Whether the lower end of the accuracy's interval is above the baseline.
        balanced_accuracy: Mean of both recalls; undefined if all faces have the same label.
        recall_gap: The higher recall minus the lower one; undefined if all faces have the same label.
        by_label: Metrics of each label.
        auc: Area under the ROC curve; undefined if all faces have the same label.
        log_loss: Log loss in nats per face.
        confusion: The confusion matrix.
    """

    labels: list[str]
    threshold: float
    confidence: float
    intervals: str
    faces: int
    images: int
    accuracy: Bounded
    majority: Majority
    beats_majority: bool
    balanced_accuracy: Estimate
    recall_gap: RecallGap
    by_label: dict[str, LabelMetrics]
    auc: Estimate
    log_loss: Estimate
    confusion: Confusion


def check_answers(truth: NDArray[np.integer], probabilities: NDArray[np.floating]) -> None:
    """Check that there are faces and valid probabilities to measure.

    Raises:
        DataError: There are no faces, or a probability is not in [0, 1].
        ValueError: The shapes do not match, or `truth` holds an index other than 0 and 1.
    """
    count = len(truth)
    if np.shape(truth) != (count,) or np.shape(probabilities) != (count, 2):
        raise ValueError(f"expected truth (n,) and probabilities (n, 2), found {truth.shape}, {probabilities.shape}")
    if count == 0:
        raise DataError("There are no faces to evaluate on.", "The test split needs at least one labeled face.")
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("truth must hold the label indices 0 and 1")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():  # False for NaN
        raise DataError("The model returned values outside 0 to 1.", "Its training diverged: train it again.")


def classification_metrics(
    labels: Sequence[str],
    truth: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    threshold: float,
    bootstrap: ImageBootstrap,
) -> Classification:
    """Measure how often, and for which labels, the predictions agree with the annotators.

    Args:
        labels: The two labels by index.
        truth: The annotated label index of each face, shape (n,), n at least 1; see `check_answers`.
        probabilities: Shape (n, 2), rows that sum to 1.
        threshold: Decision threshold, see `decide`.
        bootstrap: Resamples the faces' images.
    """
    count = len(truth)
    predicted = decide(probabilities, threshold)
    counts = _count(truth, predicted)
    support = counts.sum(axis=1)
    commonest = int(support.argmax())
    everyone, right = np.ones(count, bool), predicted == truth
    annotated, given = [truth == index for index in (0, 1)], [predicted == index for index in (0, 1)]
    overlaps = [annotated[index] | given[index] for index in (0, 1)]
    parts = [
        *((right, part) for part in (*annotated, *given, *overlaps)),
        (right, everyone),
        (annotated[commonest], everyone),
    ]
    (*shares, overall, baseline), share_draws = bootstrap.drawn_shares(parts)
    balanced, gap = _balance(labels, shares[:2], share_draws[:, :2], count, bootstrap.images)
    auc, average_precisions = _ranking(truth, probabilities, bootstrap)
    accuracy, majority = Bounded(**dict(overall)), Majority(label=labels[commonest], **dict(baseline))
    return Classification(
        labels=list(labels),
        threshold=threshold,
        confidence=CONFIDENCE,
        intervals=METHOD,
        faces=count,
        images=bootstrap.images,
        accuracy=accuracy,
        majority=majority,
        beats_majority=accuracy.low > majority.value,
        balanced_accuracy=balanced,
        recall_gap=gap,
        by_label={
            label: LabelMetrics(
                recall=shares[index],
                precision=shares[2 + index],
                f1=_f1(shares[4 + index]),
                average_precision=average_precisions[index],
                support=int(support[index]),
            )
            for index, label in enumerate(labels)
        },
        auc=auc,
        log_loss=_log_loss(face_log_losses(probabilities, truth), bootstrap),
        confusion=Confusion(labels=list(labels), counts=counts.tolist()),
    )


def _count(truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the number of faces by annotated (rows) and predicted label."""
    from sklearn.metrics import confusion_matrix

    counts: NDArray[np.int64] = confusion_matrix(truth, predicted, labels=[0, 1])
    return counts


def _log_loss(losses: NDArray[np.float64], bootstrap: ImageBootstrap) -> Estimate:
    draws = bootstrap.sums([losses, np.ones(len(losses))])
    return estimate(float(losses.mean()), ratios(draws[:, 0], draws[:, 1]), len(losses), bootstrap.images)


def _balance(
    labels: Sequence[str], recalls: Sequence[Estimate], draws: NDArray[np.float64], count: int, images: int
) -> tuple[Estimate, RecallGap]:
    """Return balanced accuracy, the mean of both recalls, and the gap, the higher recall minus the lower one.

    The interval of the gap is that of the signed difference, so it reaches below 0 where the data do not show which
    label has the lower recall.
    """
    first, second = recalls
    if first.value is None or second.value is None:
        nothing = Estimate.undefined(count, images)
        return nothing, RecallGap(**dict(nothing), better=None, worse=None)
    better, worse = (1, 0) if second.value > first.value else (0, 1)
    gap = difference(recalls[better], recalls[worse], draws[:, better] - draws[:, worse])
    # The mean of both recalls is half of (1 + one recall - the other label's share of errors).
    low, high = second.ends
    missed = second.model_copy(update={"value": 1 - second.value, "low": 1 - high, "high": 1 - low})
    summed = difference(first, missed, draws.sum(axis=1) - 1)
    low, high = summed.ends
    return (
        Estimate(value=(summed.defined + 1) / 2, low=(low + 1) / 2, high=(high + 1) / 2, count=count, images=images),
        RecallGap(
            value=gap.value,
            low=gap.low,
            high=gap.high,
            count=count,
            images=images,
            better=labels[better],
            worse=labels[worse],
        ),
    )


def _f1(overlap: Estimate) -> Estimate:
    """Return a label's F1, 2J / (1 + J), where J is the share of right faces among all annotated or predicted with it.

    F1 rises with J, so its interval is the transformed interval of J.
    """
    bounds = {"value": overlap.value, "low": overlap.low, "high": overlap.high}
    return overlap.model_copy(update={name: None if j is None else 2 * j / (1 + j) for name, j in bounds.items()})


def _ranking(
    truth: NDArray[np.integer], probabilities: NDArray[np.floating], bootstrap: ImageBootstrap
) -> tuple[Estimate, tuple[Estimate, Estimate]]:
    """Return ROC AUC and the average precision of each label.

    If every pair of faces is in the right order, so is every pair of every resample. The lower bound is then Wilson's,
    with as many trials as the rarer label has images.
    """
    count, images = len(truth), bootstrap.images
    by_label = [bootstrap.count_images(truth == index) for index in (0, 1)]
    if not all(by_label):
        nothing = Estimate.undefined(count, images)
        return nothing, (nothing, nothing)

    def estimated(values: NDArray[np.float64]) -> Estimate:
        found = estimate(values[0], values[1:], count, images)
        if found.low is not None and found.low != found.high:
            return found
        low, high = proportion(round(found.defined * min(by_label)), min(by_label)).ends
        return found.model_copy(update={"low": min(low, found.defined), "high": max(high, found.defined)})

    second = bootstrap.ranking(truth, probabilities[:, 1])
    first = bootstrap.ranking(1 - truth, probabilities[:, 0])
    return estimated(second.auc), (
        estimated(first.average_precision),
        estimated(second.average_precision),
    )
