"""The data of the report, the model card, the comparison and the suspects; the views read nothing themselves."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ml.config.training import TrainingConfig
from ml.flow.records import Credit
from ml.metrics.estimate import Proportion
from ml.metrics.records import ComparisonMetrics, EvaluationMetrics, SuspectCount
from ml.report.ledger import LedgerTable
from ml.report.subject import Subject


@dataclass(frozen=True)
class StageTime:
    """When a stage finished and how long it took.

    Attributes:
        name: Name of the stage.
        attempt: The stage's attempt.
        finished: When the attempt finished; None for the stage that writes the report.
        took: How long the attempt took; None for the stage that writes the report.
    """

    name: str
    attempt: str
    finished: datetime.datetime | None = None
    took: datetime.timedelta | None = None


@dataclass(frozen=True)
class TrainingSummary:
    """The training of the evaluated model.

    Attributes:
        attempt: URI of the attempt of stage train.
        parameters: Number of the network's parameters.
        best_epoch: The epoch, from 1, whose weights were kept.
        epochs: Number of epochs trained.
        validation: The accuracy on the validation split; None if an older attempt did not measure it.
        versions: Versions of Python and the packages.
    """

    attempt: str
    parameters: int
    best_epoch: int
    epochs: int
    validation: Proportion | None
    versions: Mapping[str, str]


@dataclass(frozen=True)
class CardData:
    """The data of the model card.

    Attributes:
        run_id: Id of the run.
        config: The run's configuration.
        subject: What the run's labels are about.
        metrics: The metrics of stage evaluate.
        training: The training of the model.
        splits: Number of faces by split and label.
        credits: Credits of the photographs from which the report shows parts.
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
    """The data of the report.

    Attributes:
        written: The present moment.
        deliveries: Names of the dated deliveries that the run used, oldest first; empty for a plain release.
        figures: PNG files of stage evaluate, by name.
        explored: PNG files of stage explore, by name.
        ledgers: What became of the faces in the earlier stages.
        stages: When the run's stages finished, in the flow's order.
    """

    written: datetime.datetime
    deliveries: Sequence[str]
    figures: Mapping[str, bytes]
    explored: Mapping[str, bytes]
    ledgers: Sequence[LedgerTable]
    stages: Sequence[StageTime]


@dataclass(frozen=True)
class ComparisonData:
    """The data of a comparison's page.

    Attributes:
        run_id: Id of the run.
        subject: What the run's labels are about.
        written: The present moment.
        comparison: The results of stage compare.
        plot: PNG file of the differences by slice.
    """

    run_id: str
    subject: Subject
    written: datetime.datetime
    comparison: ComparisonMetrics
    plot: bytes


@dataclass(frozen=True)
class SuspectsData:
    """The data of the page of suspect labels.

    Attributes:
        run_id: Id of the run.
        subject: What the run's labels are about.
        written: The present moment.
        counts: Faces and suspects by split and label.
        excluded: Faces that this run's training already left out.
        unjudged: Training faces without an estimate.
        folds: Number of folds.
        suspect_list: URI of the CSV file.
        figures: PNG files of contact sheets, by name.
        credits: Credits of the photographs from which the page shows parts.
    """

    run_id: str
    subject: Subject
    written: datetime.datetime
    counts: Sequence[SuspectCount]
    excluded: int
    unjudged: int
    folds: int
    suspect_list: str
    figures: Mapping[str, bytes]
    credits: Sequence[Credit]
