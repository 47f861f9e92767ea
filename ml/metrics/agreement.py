"""Agreement with MIAP, a second annotation of the same photographs (Schumann et al., 2021), where the release has it.

MIAP gives person boxes a gender presentation as perceived by other annotators. Where two annotations disagree no model
can agree with both. Its authors ask that it be used to evaluate, not to train.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ml.flow.record import Record
from ml.flow.records import Agreement
from ml.metrics.bootstrap import ImageBootstrap
from ml.metrics.estimate import Estimate, Proportion, proportion


class StrategyAgreement(Record):
    """How often one way to label agrees with MIAP in one split.

    Attributes:
        split: The split.
        strategy: The label strategy.
        agree: Faces on which both give the same label.
        disagree: Faces on which they do not.
        miap_unknown: Faces whose presentation MIAP does not know.
        share: The agreeing ones among those that MIAP knows. Only counts are kept of these faces, so the interval
            takes them as independent.
    """

    split: str
    strategy: str
    agree: int
    disagree: int
    miap_unknown: int = Field(alias="miap unknown")
    share: Proportion


class MiapMetrics(Record):
    """What MIAP says about the labels and about the model.

    Attributes:
        model: Share of the test faces with a MIAP label on which the model agrees with it; count 0 without such faces.
        annotation: The same for the run's labels.
        agreement: The ways to label, by split.
    """

    model: Estimate
    annotation: Estimate
    agreement: list[StrategyAgreement]


def miap_metrics(
    labels: Sequence[str],
    truth: NDArray[np.integer],
    predicted: NDArray[np.integer],
    miap_labels: NDArray[Any] | None,
    counted: Mapping[str, Mapping[str, Agreement]] | None,
    bootstrap: ImageBootstrap,
) -> MiapMetrics | None:
    """Compare labels and model with MIAP.

    Args:
        labels: The labels by index.
        truth: Annotated label index of each test face, shape (n,).
        predicted: Label index that each was given, shape (n,).
        miap_labels: MIAP's label by name, None where it has none; None where the features do not have the column.
        counted: What stage join_labels counted, by split and label strategy.
        bootstrap: Of the test faces' images.

    Returns:
        None where there is nothing from MIAP.
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
        StrategyAgreement(
            split=split,
            strategy=strategy,
            agree=counts.agree,
            disagree=counts.disagree,
            miap_unknown=counts.miap_unknown,
            share=proportion(counts.agree, counts.agree + counts.disagree),
        )
        for split, strategies in (counted or {}).items()
        for strategy, counts in strategies.items()
    ]
    return MiapMetrics(model=model, annotation=annotation, agreement=agreement)
