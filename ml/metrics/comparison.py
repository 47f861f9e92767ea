"""Compare the predictions of two models on the same faces."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ml.features.columns import SLICINGS
from ml.flow.record import Record
from ml.metrics.bootstrap import ImageBootstrap
from ml.metrics.calibration import face_log_losses
from ml.metrics.estimate import METHOD, Bounded, Estimate, estimate, ratios
from ml.metrics.predictions import TestPredictions
from ml.metrics.slices import SlicingDifferences, slice_differences

Role = Literal["model", "baseline"]
ROLES: tuple[Role, Role] = ("model", "baseline")


class AccuracyByRole(Record):
    """The accuracy of each of the two models."""

    model: Bounded
    baseline: Bounded


class LogLossByRole(Record):
    """The log loss of each of the two models, in nats per face."""

    model: Estimate
    baseline: Estimate


class RightTable(Record):
    """Faces by which of the two models is right.

    Attributes:
        both: Faces on which both models are right.
        only_model: Faces on which only the model is right.
        only_baseline: Faces on which only the baseline is right.
        neither: Faces on which neither is right.
    """

    both: int
    only_model: int
    only_baseline: int
    neither: int


class McNemar(Record):
    """McNemar's exact test (1947) of the hypothesis that the two models are right equally often.

    Attributes:
        p_value: The p-value of the test.
        discordant: Number of faces on which only one model is right, treated as independent.
    """

    p_value: float
    discordant: int


class Comparison(Record):
    """The paired comparison of two models' predictions for the same faces; differences are model minus baseline.

    Attributes:
        faces: Number of test faces.
        images: Number of images that the test faces are on.
        intervals: How the intervals were computed.
        accuracy: Accuracy of each model.
        log_loss: Log loss of each model.
        accuracy_difference: The difference in accuracy.
        log_loss_difference: The difference in log loss.
        table: Faces by which of the two is right.
        mcnemar: Test of whether the two are right equally often.
        slices: The differences in accuracy by slice.
    """

    faces: int
    images: int
    intervals: str
    accuracy: AccuracyByRole
    log_loss: LogLossByRole
    accuracy_difference: Bounded
    log_loss_difference: Estimate
    table: RightTable
    mcnemar: McNemar
    slices: list[SlicingDifferences]


def measure(model: TestPredictions, baseline: TestPredictions) -> Comparison:
    """Compare two models' predictions for the same faces, with intervals from one bootstrap of images for both."""
    truth, count = model.truth, len(model.truth)
    bootstrap = ImageBootstrap(model.columns["image_id"])
    everyone = np.ones(count, bool)
    right = {"model": model.predicted == truth, "baseline": baseline.predicted == truth}
    accuracies = [Bounded(**dict(share)) for share in bootstrap.shares([(mask, everyone) for mask in right.values()])]
    losses = [face_log_losses(answers.probabilities, truth) for answers in (model, baseline)]
    losses.append(losses[0] - losses[1])
    sums = bootstrap.sums([everyone, *losses])
    log_losses = [
        estimate(float(loss.mean()), ratios(sums[:, number], sums[:, 0]), count, bootstrap.images)
        for number, loss in enumerate(losses, 1)
    ]
    gained = right["model"].astype(np.int64) - right["baseline"]
    columns = {name: values for name, values in model.columns.items() if name in SLICINGS}
    overall, slices = slice_differences(columns, right, bootstrap)
    from scipy.stats import binomtest

    won, lost = int((gained == 1).sum()), int((gained == -1).sum())
    return Comparison(
        faces=count,
        images=bootstrap.images,
        intervals=METHOD,
        accuracy=AccuracyByRole(model=accuracies[0], baseline=accuracies[1]),
        log_loss=LogLossByRole(model=log_losses[0], baseline=log_losses[1]),
        accuracy_difference=Bounded(**dict(overall)),
        log_loss_difference=log_losses[2],
        table=RightTable(
            both=int((right["model"] & right["baseline"]).sum()),
            only_model=won,
            only_baseline=lost,
            neither=int((~right["model"] & ~right["baseline"]).sum()),
        ),
        mcnemar=McNemar(p_value=float(binomtest(won, won + lost).pvalue) if won + lost else 1.0, discordant=won + lost),
        slices=slices,
    )
