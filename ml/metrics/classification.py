"""Metrics of a two-label classifier, each with the number of faces it rests on and an interval clustered by image.

Index 1, the second label, is what a face is given when its probability is at least the decision threshold.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from ml.errors import DataError
from ml.flow.record import Record
from ml.metrics.bootstrap import ImageBootstrap
from ml.metrics.calibration import face_log_losses
from ml.metrics.decision import decide
from ml.metrics.estimate import CONFIDENCE, METHOD, Bounded, Estimate, difference, estimate, proportion, ratios


class _Labelled(Record):
    label: str


class Majority(Bounded, _Labelled):  # the fields of the base on the right come first in the JSON
    """The accuracy of always answering the label that most faces have.

    Attributes:
        label: That label.
    """


class RecallGap(Estimate):
    """The better recall less the worse one.

    Attributes:
        better: The label of the better recall; None where the gap is undefined.
        worse: The label of the worse one, likewise.
    """

    better: str | None
    worse: str | None


class LabelMetrics(Record):
    """What is measured of one label.

    Attributes:
        precision: Share of the faces predicted so that are annotated so; undefined where none is predicted so.
        recall: Share of the faces annotated so that are predicted so; undefined where none is annotated so.
        f1: Their harmonic mean.
        average_precision: Mean precision over the label's faces.
        support: Faces annotated so.
    """

    precision: Estimate
    recall: Estimate
    f1: Estimate
    average_precision: Estimate
    support: int


class Confusion(Record):
    """The confusion matrix.

    Attributes:
        rows: What its rows are.
        columns: What its columns are.
        labels: The labels of rows and columns, in order.
        counts: Faces, by row and column.
    """

    rows: str = "annotated"
    columns: str = "predicted"
    labels: list[str]
    counts: list[list[int]]


class Classification(Record):
    """How often and on whom the answers agree with the annotators.

    An accuracy cannot be told from guessing without its interval and the majority baseline: a record that lacks one of
    them is refused when it is made, so no report is written about it.

    Attributes:
        labels: The labels by index.
        threshold: The second label is given where its probability is at least this.
        confidence: Of the intervals.
        intervals: How they were made.
        faces: Number of test faces.
        images: Number of images that they lie on.
        accuracy: Share of the faces that are answered as annotated.
        majority: The baseline.
        beats_majority: Whether the lower end of the accuracy's interval lies above the baseline.
        balanced_accuracy: Mean of both recalls; undefined where all faces have the same label.
        recall_gap: Likewise.
        by_label: Metrics of each label.
        auc: Area under the ROC curve; undefined where all faces have the same label.
        log_loss: In nats a face.
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


def classification_metrics(
    labels: Sequence[str],
    truth: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    threshold: float,
    bootstrap: ImageBootstrap,
) -> Classification:
    """Measure how often and on whom the answers agree with the annotators.

    Args:
        labels: The two labels by index.
        truth: The annotated label index of each face, shape (n,), n at least 1; see `check_answers`.
        probabilities: Shape (n, 2), rows that sum to 1.
        threshold: Decision threshold, see `decide`.
        bootstrap: Of the faces' images.
    """
    count = len(truth)
    predicted = decide(probabilities, threshold)
    counts = confusion_matrix(truth, predicted, labels=[0, 1])
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


def _log_loss(losses: NDArray[np.float64], bootstrap: ImageBootstrap) -> Estimate:
    draws = bootstrap.sums([losses, np.ones(len(losses))])
    return estimate(float(losses.mean()), ratios(draws[:, 0], draws[:, 1]), len(losses), bootstrap.images)


def _balance(
    labels: Sequence[str], recalls: Sequence[Estimate], draws: NDArray[np.float64], count: int, images: int
) -> tuple[Estimate, RecallGap]:
    """Return balanced accuracy, the mean of both recalls; and the gap, the better recall less the worse one.

    The interval of the gap is that of the signed difference, so that it reaches below 0 where the data do not show
    which of the two labels is served worse.
    """
    first, second = recalls
    if first.value is None or second.value is None:
        nothing = Estimate.undefined(count, images)
        return nothing, RecallGap(**dict(nothing), better=None, worse=None)
    better, worse = (1, 0) if second.value > first.value else (0, 1)
    gap = difference(recalls[better], recalls[worse], draws[:, better] - draws[:, worse])
    # The mean is half the difference of one recall and of the other one's share of errors.
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
    """Return F1 of a label, 2J / (1 + J) of J, the right faces' share of all that are annotated or predicted so.

    The interval is J's, so transformed, since F1 rises with J.
    """
    bounds = {"value": overlap.value, "low": overlap.low, "high": overlap.high}
    return overlap.model_copy(update={name: None if j is None else 2 * j / (1 + j) for name, j in bounds.items()})


def _ranking(
    truth: NDArray[np.integer], probabilities: NDArray[np.floating], bootstrap: ImageBootstrap
) -> tuple[Estimate, tuple[Estimate, Estimate]]:
    """Return ROC AUC, and the average precision of either label.

    Where every pair of faces is in the right order, so is every resample's. Then the lower bound is Wilson's for as
    many trials as the rarer label has images.
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
