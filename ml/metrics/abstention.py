"""Selective prediction: accuracy and coverage when the least confident faces get no label."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ml.flow.record import Record
from ml.metrics.bootstrap import ImageBootstrap
from ml.metrics.decision import given_confidence, is_sure
from ml.metrics.estimate import Estimate

CURVE_POINTS = 20


class CoveragePoint(Record):
    """Coverage and accuracy when faces below one confidence are predicted 'unknown'.

    Attributes:
        min_confidence: The confidence.
        coverage: Share of the faces that get a label.
        accuracy: Accuracy on the faces that get a label.
    """

    min_confidence: float
    coverage: Estimate
    accuracy: Estimate


class Abstention(CoveragePoint):
    """Coverage and accuracy at the run's own `min_confidence`.

    Attributes:
        unknown: Faces that get no label.
    """

    unknown: int


class AbstentionMetrics(Abstention):
    """Coverage and accuracy at the run's own confidence, with the risk-coverage curve.

    Attributes:
        curve: Up to `CURVE_POINTS` points, in order of falling coverage; the first covers all faces.
    """

    curve: list[CoveragePoint]


def abstention_metrics(
    truth: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    predicted: NDArray[np.integer],
    min_confidence: float,
    bootstrap: ImageBootstrap,
) -> AbstentionMetrics:
    """Measure coverage and accuracy when unsure faces are predicted 'unknown' (El-Yaniv and Wiener, 2010).

    Args:
        truth: Annotated label index of each face, shape (n,).
        probabilities: The model's probabilities, shape (n, 2).
        predicted: Predicted label index of each face, shape (n,).
        min_confidence: Below this confidence a face is predicted 'unknown'.
        bootstrap: Resamples the faces' images.
    """
    confidence, right = given_confidence(probabilities, predicted), predicted == truth
    everyone = np.ones(len(truth), bool)
    steps = np.unique(np.quantile(confidence, np.arange(CURVE_POINTS) / CURVE_POINTS, method="lower"))
    limits = [min_confidence, *(float(step) for step in steps)]
    answered = [is_sure(confidence, limit) for limit in limits]
    shares = bootstrap.shares([pair for mask in answered for pair in ((mask, everyone), (right, mask))])
    points = [
        CoveragePoint(min_confidence=limit, coverage=coverage, accuracy=accuracy)
        for limit, coverage, accuracy in zip(limits, shares[::2], shares[1::2], strict=True)
    ]
    return AbstentionMetrics(**dict(points[0]), unknown=int((~answered[0]).sum()), curve=points[1:])
