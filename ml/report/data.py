"""The data of the report, the model card, the comparison and the suspects; the views read nothing themselves."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ml.config.training import TrainingConfig
from ml.flow.exploration import Analyses, Balance, Credit
from ml.flow.records import NullCounts, PublishedDifference
from ml.metrics.agreement import StrategyAgreement
from ml.metrics.drift import DriftMetrics
from ml.metrics.estimate import Proportion
from ml.metrics.monitoring import MonitoringMetrics
from ml.metrics.records import ComparisonMetrics, EvaluationMetrics, SuspectCount
from ml.metrics.sweep import SweepResult
from ml.model.record import FittedValue
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
        temperature: How the temperature was chosen; None if an older attempt did not record it.
        threshold: How the threshold was chosen; likewise.
        versions: Versions of Python and the packages.
    """

    attempt: str
    parameters: int
    best_epoch: int
    epochs: int
    validation: Proportion | None
    temperature: FittedValue | None
    threshold: FittedValue | None
    versions: Mapping[str, str]


@dataclass(frozen=True)
class LicenseCount:
    """The photographs under a license.

    Attributes:
        license: The address of the license, as the release states it.
        photographs: Number of photographs.
        authors: Number of their authors.
    """

    license: str
    photographs: int
    authors: int


@dataclass(frozen=True)
class Attribution:
    """Whose photographs the faces are from.

    Attributes:
        authors: Number of authors.
        licenses: The photographs by license, the most frequent first.
        attempts: The attempts of stage extract whose table `images` names the author and the page of each.
    """

    authors: int
    licenses: Sequence[LicenseCount]
    attempts: Sequence[str]


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
        attribution: Whose photographs the faces are from; None if stage extract is absent.
        version: The published version of the release, such as `V5`, or several of them; empty if the run does not tell.
    """

    run_id: str
    config: TrainingConfig
    subject: Subject
    metrics: EvaluationMetrics
    training: TrainingSummary
    splits: Mapping[str, Mapping[str, int]]
    credits: Sequence[Credit]
    attribution: Attribution | None
    version: str


@dataclass(frozen=True)
class ReportData(CardData):
    """The data of the report.

    Attributes:
        written: The present moment.
        deliveries: Names of the dated deliveries that the run used, oldest first; empty for a plain release.
        figures: SVG and PNG files of stage evaluate, by name.
        explored: SVG and PNG files of stage explore, by name.
        ledgers: What became of the faces in the earlier stages.
        left_out: Number of chips that stage featurize left out of the splits, by reason.
        stages: When the run's stages finished, in the flow's order.
        drift: The drift of the data; None if there is no earlier run to compare with.
    """

    written: datetime.datetime
    deliveries: Sequence[str]
    figures: Mapping[str, bytes]
    explored: Mapping[str, bytes]
    ledgers: Sequence[LedgerTable]
    left_out: Mapping[str, int]
    stages: Sequence[StageTime]
    drift: DriftMetrics | None = None


@dataclass(frozen=True)
class ComparisonData:
    """The data of a comparison's page.

    Attributes:
        run_id: Id of the run.
        subject: What the run's labels are about.
        written: The present moment.
        comparison: The results of stage compare.
        plot: SVG file of the differences by slice.
    """

    run_id: str
    subject: Subject
    written: datetime.datetime
    comparison: ComparisonMetrics
    plot: bytes


@dataclass(frozen=True)
class ReleaseTable:
    """A table of the release in numbers.

    Attributes:
        name: The table.
        rows: Rows in its files.
        kept: Rows of the configured classes.
        nulls: The columns that have missing values, with their counts.
        broken: Rows in its files that break the data contract.
        by_rule: Those rows by rule; a row that breaks several rules counts for each.
    """

    name: str
    rows: int
    kept: int
    nulls: Mapping[str, NullCounts]
    broken: int
    by_rule: Mapping[str, int]


@dataclass(frozen=True)
class Tile:
    """A picture on a sheet.

    Attributes:
        picture: A JPEG file.
        image_ids: The photographs that it shows.
        key: The id of the face, or the image ids of the pair.
        caption: What it shows.
    """

    picture: bytes
    image_ids: tuple[str, ...]
    key: str
    caption: str


@dataclass(frozen=True)
class Sheet:
    """A sheet of sample photographs.

    Attributes:
        name: Its name in links to it.
        title: Its title.
        count: The number of faces or pairs that it is a sample of.
        explanation: What they have in common, in a sentence.
        tiles: The pictures.
        missing: The photographs of the sample that cannot be read.
        kind: What the pictures are.
    """

    name: str
    title: str
    count: int
    explanation: str
    tiles: Sequence[Tile]
    missing: Sequence[str]
    kind: Literal["photographs", "chips", "pairs"] = "photographs"


@dataclass(frozen=True)
class ExplorationData:
    """The data of the page of stage explore.

    Attributes:
        run_id: Id of the run.
        config: The run's configuration.
        subject: What the run's labels are about.
        written: The present moment.
        version: The published version of the release, such as `V5`; empty if the run does not tell.
        deliveries: Names of the dated deliveries that the run used, oldest first; empty for a plain release.
        tables: The release's tables.
        quarantine: The folders of the tables `quarantine`, one for each delivery that has broken rows.
        unlike_published: Row counts that differ from the published ones, if the release looks like the published one.
        analyses: The analyses of the release.
        balance: The labels of the faces over the values of several columns.
        agreement: Agreement of the label strategies with MIAP; empty without MIAP.
        figures: SVG and PNG files by name.
        ledgers: What became of the faces.
        sheets: The sheets of sample photographs, by stage; those of no ledger under an empty name.
        colors: What the colors of the boxes mean: the name and the color in CSS.
        credits: Credits of the photographs on the page.
    """

    run_id: str
    config: TrainingConfig
    subject: Subject
    written: datetime.datetime
    version: str
    deliveries: Sequence[str]
    tables: Sequence[ReleaseTable]
    quarantine: Sequence[str]
    unlike_published: Sequence[PublishedDifference]
    analyses: Analyses
    balance: Sequence[Balance]
    agreement: Sequence[StrategyAgreement]
    figures: Mapping[str, bytes]
    ledgers: Sequence[LedgerTable]
    sheets: Mapping[str, Sequence[Sheet]]
    colors: Sequence[tuple[str, str]]
    credits: Sequence[Credit]


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
        figures: SVG and PNG files of contact sheets, by name.
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


@dataclass(frozen=True)
class SweepData:
    """The data of the page of a sweep.

    Attributes:
        run_id: The sweep's id.
        subject: What the labels are about.
        written: When the page was written.
        names: The parameters of the grid.
        result: The trainings.
    """

    run_id: str
    subject: Subject
    written: datetime.datetime
    names: tuple[str, ...]
    result: SweepResult

    @property
    def trainings(self) -> int:
        """The number of trainings."""
        return sum(len(combination.trainings) for combination in self.result.combinations)


@dataclass(frozen=True)
class MonitoringData:
    """The data of the page that compares a bulk prediction with its model's training.

    Attributes:
        run_id: The prediction's run.
        subject: What the labels are about; None if they are not the usual ones.
        written: When the page was written.
        found: The differences.
        line: One line about them.
        model: URI of the model's attempt.
        figures: The distributions, by the figure's name.
    """

    run_id: str
    subject: Subject | None
    written: datetime.datetime
    found: MonitoringMetrics
    line: str
    model: str
    figures: Mapping[str, bytes]
