"""Agreement with MIAP, a second annotation of the same photographs (Schumann et al., 2021), where the release has it.

MIAP gives person boxes a gender presentation as perceived by other annotators. Where two annotations disagree no model
can agree with both. Its authors ask that it be used to evaluate, not to train.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.metrics.bootstrap import ImageBootstrap
from ml.metrics.estimate import proportion


def miap_metrics(
    labels: Sequence[str],
    truth: NDArray[np.integer],
    predicted: NDArray[np.integer],
    miap_labels: NDArray[Any] | None,
    counted: Mapping[str, Mapping[str, Mapping[str, int]]] | None,
    bootstrap: ImageBootstrap,
) -> dict[str, Any] | None:
    """What MIAP says of the labels and of the model.

    Args:
        labels: The labels by index.
        truth: Annotated label index of each test face, shape (n,).
        predicted: Label index that each was given, shape (n,).
        miap_labels: MIAP's label by name, None where it has none; None where the features do not have the column.
        counted: Faces by split, label strategy and what MIAP says (`agree`, `disagree`, `miap unknown`), as stage
            join_labels counts them.
        bootstrap: Of the test faces' images.

    Returns:
        None where there is nothing of MIAP. Else `model` and `annotation`, the shares of the test faces with a MIAP
        label on which model and annotation agree with it (count 0 without such faces); and `agreement`, a list by split
        and strategy of these counts and `share`, the agreeing ones among those that MIAP tells.
    """
    index = np.full(len(truth), -1)
    if miap_labels is not None:
        for number, label in enumerate(labels):
            index[miap_labels == label] = number
    known = index >= 0
    if not known.any() and not counted:
        return None
    model, annotation = bootstrap.shares([(predicted == index, known), (truth == index, known)])
    agreement = [
        {"split": split, "strategy": strategy, **counts, "share": _share(counts)}
        for split, strategies in (counted or {}).items()
        for strategy, counts in strategies.items()
    ]
    return {"model": model, "annotation": annotation, "agreement": agreement}


def _share(counts: Mapping[str, int]) -> dict[str, Any]:
    # Of these faces only the counts are known, so the interval takes them as independent.
    return proportion(counts["agree"], counts["agree"] + counts["disagree"])
