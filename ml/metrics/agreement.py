"""Agreement with MIAP, a second annotation of the same photographs (Schumann et al., 2021), if the release has it.

MIAP labels person boxes with the gender presentation that other annotators perceived. Where two annotations disagree,
no model can agree with both. The authors of MIAP ask that it be used for evaluation and not for training.
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
    """How often one label strategy agrees with MIAP in one split.

    Attributes:
        split: The split.
        strategy: The label strategy.
        agree: Faces to which both give the same label.
        disagree: Faces to which they give different labels.
        miap_unknown: Faces whose presentation MIAP marks as unknown.
        share: `agree` as a share of `agree` and `disagree`. Only the counts of these faces are kept, so the interval
            treats the faces as independent.
    """

    split: str
    strategy: str
    agree: int
    disagree: int
    miap_unknown: int = Field(alias="miap unknown")
    share: Proportion


class MiapMetrics(Record):
    """Agreement of the labels and of the model with MIAP.

    Attributes:
        model: Share of the test faces with a MIAP label on which the model agrees with it; count 0 without such faces.
        annotation: The same share for the run's labels.
        agreement: Agreement of each label strategy in each split.
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
    """Compare the labels and the model with MIAP.

    Args:
        labels: The labels by index.
        truth: Annotated label index of each test face, shape (n,).
        predicted: Predicted label index of each test face, shape (n,).
        miap_labels: Name of each face's MIAP label, None for a face without one; None if the features lack the column.
        counted: Counts of stage join_labels, by split and label strategy.
        bootstrap: Resamples the test faces' images.

    Returns:
        None if the release holds nothing from MIAP.
    """
    index = np.full(len(truth), -1)
    if miap_labels is not None:
        for number, label in enumerate(labels):
            index[miap_labels == label] = number
    known = index >= 0
    if not known.any() and not counted:
        return None
    model, annotation = bootstrap.shares([(predicted == index, known), (truth == index, known)])
    return MiapMetrics(model=model, annotation=annotation, agreement=strategy_agreement(counted or {}))


def strategy_agreement(counted: Mapping[str, Mapping[str, Agreement]]) -> list[StrategyAgreement]:
    """Return how often each label strategy agrees with MIAP in each split.

    Args:
        counted: Counts of stage join_labels, by split and label strategy.
    """
    return [
        StrategyAgreement(
            split=split,
            strategy=strategy,
            agree=counts.agree,
            disagree=counts.disagree,
            miap_unknown=counts.miap_unknown,
            share=proportion(counts.agree, counts.agree + counts.disagree),
        )
        for split, strategies in counted.items()
        for strategy, counts in strategies.items()
    ]
