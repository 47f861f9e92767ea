"""The rule that turns two probabilities into a label."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def decide(probabilities: NDArray[np.floating], threshold: float) -> NDArray[np.int64]:
    """The label index of each face.

    Args:
        probabilities: Shape (n, 2), rows that sum to 1.
        threshold: The second label is chosen where its probability is at least this.

    Returns:
        Shape (n,), 0 or 1.
    """
    return (probabilities[:, 1] >= threshold).astype(np.int64)
