"""The result of a sweep: mean and spread over seeds by combination, and the best training, by validation alone.

The test split takes no part. Choosing among many trainings by their test scores would make the chosen one's score too
good; only the chosen training is evaluated on it, once.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from ml.flow.record import Record


class Trained(Record):
    """One training of a sweep, with its scores on the validation split.

    Attributes:
        number: The number of its cell.
        run: Its run folder.
        values: What it sets, by parameter of the grid.
        seed: Its seed.
        loss: Mean log loss.
        accuracy: Accuracy at its threshold.
        best_epoch: The epoch, from 1, whose weights were kept.
        seconds: Duration of its epochs.
    """

    number: int
    run: str
    values: dict[str, Any]
    seed: int
    loss: float
    accuracy: float | None
    best_epoch: int
    seconds: float


class Spread(Record):
    """A score over the seeds of a combination.

    Attributes:
        mean: Its mean.
        deviation: Its sample standard deviation; None for one seed.
        low: The lowest score.
        high: The highest score.
    """

    mean: float
    deviation: float | None
    low: float
    high: float

    @classmethod
    def of(cls, scores: Sequence[float]) -> Spread:
        """Return the spread of one or more scores."""
        deviation = statistics.stdev(scores) if len(scores) > 1 else None
        return cls(mean=statistics.fmean(scores), deviation=deviation, low=min(scores), high=max(scores))


class Combination(Record):
    """The trainings of one combination of the grid's values.

    Attributes:
        values: The values.
        trainings: Its trainings, by seed.
        loss: Their losses.
        accuracy: Their accuracies; None if an older attempt did not measure it.
    """

    values: dict[str, Any]
    trainings: list[Trained]
    loss: Spread
    accuracy: Spread | None


class Lead(Record):
    """How far the best combination is ahead of the next one.

    Attributes:
        difference: Mean loss of the next one minus that of the best.
        error: The standard error of that difference; None where a combination has one seed.
    """

    difference: float
    error: float | None

    @property
    def clear(self) -> bool | None:
        """Whether the difference is more than twice its error; None without an error."""
        return None if self.error is None else self.difference > 2 * self.error


class SweepResult(Record):
    """All trainings of a sweep.

    Attributes:
        combinations: The combinations, the lowest mean loss first.
        best: The training with the lowest loss of the first combination.
        lead: How far that combination is ahead of the next one; None if there is one combination.
        faces: Number of faces in the validation split.
    """

    combinations: list[Combination]
    best: Trained
    lead: Lead | None
    faces: int


class SweepRecord(SweepResult):
    """The record of stage sweep.

    Attributes:
        report: URI of `sweep.html`.
        table: URI of `sweep.csv`.
    """

    report: str
    table: str


def compare_trainings(trained: Sequence[Trained], faces: int) -> SweepResult:
    """Return mean and spread of each combination, and the best training.

    Args:
        trained: The trainings, one or more for each combination.
        faces: Number of faces in the validation split.
    """
    groups: list[list[Trained]] = []
    for each in trained:
        group = next((found for found in groups if found[0].values == each.values), None)
        if group is None:
            groups.append([each])
        else:
            group.append(each)
    combinations = sorted(map(_combination, groups), key=lambda combination: combination.loss.mean)
    best = min(combinations[0].trainings, key=lambda each: each.loss)
    lead = _lead(combinations[0], combinations[1]) if len(combinations) > 1 else None
    return SweepResult(combinations=combinations, best=best, lead=lead, faces=faces)


def _combination(trainings: list[Trained]) -> Combination:
    accuracies = [each.accuracy for each in trainings if each.accuracy is not None]
    return Combination(
        values=trainings[0].values,
        trainings=trainings,
        loss=Spread.of([each.loss for each in trainings]),
        accuracy=Spread.of(accuracies) if len(accuracies) == len(trainings) else None,
    )


def _lead(best: Combination, following: Combination) -> Lead:
    spreads = [(combination.loss.deviation, len(combination.trainings)) for combination in (best, following)]
    variances = [deviation**2 / count for deviation, count in spreads if deviation is not None]
    error = math.sqrt(sum(variances)) if len(variances) == len(spreads) else None
    return Lead(difference=following.loss.mean - best.loss.mean, error=error)
