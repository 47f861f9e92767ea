"""What is gained by leaving the least confident faces unanswered."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.metrics.bootstrap import ImageBootstrap
from ml.metrics.calibration import given_confidence

CURVE_POINTS = 20


def abstention_metrics(
    truth: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    predicted: NDArray[np.integer],
    min_confidence: float,
    bootstrap: ImageBootstrap,
) -> dict[str, Any]:
    """What answering 'unknown' below a confidence buys and costs (El-Yaniv and Wiener, 2010).

    Args:
        truth: Annotated label index of each face, shape (n,).
        probabilities: As the model gives them, shape (n, 2).
        predicted: Label index that each face was given, shape (n,).
        min_confidence: Below this confidence a face is answered 'unknown'.
        bootstrap: Of the faces' images.

    Returns:
        `min_confidence`, `unknown` (faces), `coverage` (share of the faces that get a label), `accuracy` (of those),
        and `curve`: the same at up to `CURVE_POINTS` confidences, from all faces down, with each its `min_confidence`.
    """
    confidence, right = given_confidence(probabilities, predicted), predicted == truth
    everyone = np.ones(len(truth), bool)
    steps = np.unique(np.quantile(confidence, np.arange(CURVE_POINTS) / CURVE_POINTS, method="lower"))
    limits = [min_confidence, *steps]
    answered = [confidence >= limit for limit in limits]
    shares = bootstrap.shares([pair for mask in answered for pair in ((mask, everyone), (right, mask))])
    rows = [
        {"min_confidence": float(limit), "coverage": coverage, "accuracy": accuracy}
        for limit, coverage, accuracy in zip(limits, shares[::2], shares[1::2], strict=True)
    ]
    return {**rows[0], "unknown": int((~answered[0]).sum()), "curve": rows[1:]}
