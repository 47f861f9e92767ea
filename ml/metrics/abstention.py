"""What is gained by leaving the least confident faces unanswered."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ml.flow.record import Record
from ml.metrics.bootstrap import ImageBootstrap
from ml.metrics.decision import given_confidence, is_sure
from ml.metrics.estimate import Estimate

CURVE_POINTS = 20


class CoveragePoint(Record):
    """What answering 'unknown' below one confidence buys and costs.

    Attributes:
        min_confidence: The confidence.
        coverage: Share of the faces that get a label.
        accuracy: Of those.
    """

    min_confidence: float
    coverage: Estimate
    accuracy: Estimate


class Abstention(CoveragePoint):
    """The same at the run's own confidence.

    Attributes:
        unknown: Faces that get no label.
    """

    unknown: int


class AbstentionMetrics(Abstention):
    """The same with the curve of risk and coverage.

    Attributes:
        curve: Up to `CURVE_POINTS` confidences, from all faces down.
    """

    curve: list[CoveragePoint]


def abstention_metrics(
    truth: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    predicted: NDArray[np.integer],
    min_confidence: float,
    bootstrap: ImageBootstrap,
) -> AbstentionMetrics:
    """Measure what answering 'unknown' below a confidence buys and costs (El-Yaniv and Wiener, 2010).

    Args:
        truth: Annotated label index of each face, shape (n,).
        probabilities: As the model gives them, shape (n, 2).
        predicted: Label index that each face was given, shape (n,).
        min_confidence: Below this confidence a face is answered 'unknown'.
        bootstrap: Of the faces' images.
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
