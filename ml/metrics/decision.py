"""The rule that turns two probabilities into a label, or into 'unknown'."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UNKNOWN = "unknown"


def decide(probabilities: NDArray[np.floating], threshold: float) -> NDArray[np.int64]:
    """Return the label index of each face.

    Args:
        probabilities: Shape (n, 2), rows that sum to 1.
        threshold: The second label is predicted where its probability is at least this.

    Returns:
        Shape (n,), 0 or 1.
    """
    return (probabilities[:, 1] >= threshold).astype(np.int64)


def given_confidence(probabilities: NDArray[np.floating], predicted: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the probability of each face's predicted label, shape (n,)."""
    chosen: NDArray[np.float64] = np.asarray(probabilities, np.float64)[np.arange(len(predicted)), predicted]
    return chosen


def is_sure(confidence: NDArray[np.floating], min_confidence: float) -> NDArray[np.bool_]:
    """Return whether each face keeps its label, shape (n,); a face of lower confidence is predicted 'unknown'."""
    return confidence >= min_confidence
