"""What report, model card and comparison are handed; they read nothing themselves."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ml.config.training import TrainingConfig
from ml.flow.records import Credit
from ml.metrics.estimate import Proportion
from ml.metrics.records import ComparisonMetrics, EvaluationMetrics
from ml.report.ledger import LedgerTable
from ml.report.subject import Subject


@dataclass(frozen=True)
class StageTime:
    """When a stage was done.

    Attributes:
        name: Of the stage.
        attempt: Its attempt.
        finished: When that finished; None for the one that writes the report.
        took: How long that took, likewise.
    """

    name: str
    attempt: str
    finished: datetime.datetime | None = None
    took: datetime.timedelta | None = None


@dataclass(frozen=True)
class TrainingSummary:
    """The training of the evaluated model.

    Attributes:
        attempt: URI of its attempt.
        parameters: Number of the network's parameters.
        best_epoch: The epoch, from 1, whose weights were kept.
        epochs: How many were trained.
        validation: The accuracy on the validation split; None where an older attempt did not measure it.
        versions: Of Python and the packages.
    """

    attempt: str
    parameters: int
    best_epoch: int
    epochs: int
    validation: Proportion | None
    versions: Mapping[str, str]


@dataclass(frozen=True)
class CardData:
    """What the model card is made from.

    Attributes:
        run_id: Of the run.
        config: Its configuration.
        subject: What its labels are about.
        metrics: What stage evaluate measured.
        training: The training of the model.
        splits: Faces by split and label.
        credits: The photographs that the report shows parts of.
    """

    run_id: str
    config: TrainingConfig
    subject: Subject
    metrics: EvaluationMetrics
    training: TrainingSummary
    splits: Mapping[str, Mapping[str, int]]
    credits: Sequence[Credit]


@dataclass(frozen=True)
class ReportData(CardData):
    """What the report is made from.

    Attributes:
        written: The present moment.
        deliveries: Names of the dated deliveries that the run saw, oldest first; empty for a plain release.
        figures: PNG files of stage evaluate, by name.
        explored: PNG files of stage explore, by name.
        ledgers: What became of the faces in the stages before.
        stages: When the run's stages were done, in the flow's order.
    """

    written: datetime.datetime
    deliveries: Sequence[str]
    figures: Mapping[str, bytes]
    explored: Mapping[str, bytes]
    ledgers: Sequence[LedgerTable]
    stages: Sequence[StageTime]


@dataclass(frozen=True)
class ComparisonData:
    """What the page of a comparison is made from.

    Attributes:
        run_id: Of the run.
        subject: What its labels are about.
        written: The present moment.
        comparison: What stage compare measured.
        plot: PNG file of the differences by slice.
    """

    run_id: str
    subject: Subject
    written: datetime.datetime
    comparison: ComparisonMetrics
    plot: bytes
