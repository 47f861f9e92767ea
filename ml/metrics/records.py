"""The records of stages evaluate, suspects and compare, and the contents of the JSON files that they write."""

from __future__ import annotations

from ml.flow.record import Record
from ml.metrics.abstention import Abstention, AbstentionMetrics
from ml.metrics.agreement import MiapMetrics
from ml.metrics.calibration import CalibrationMetrics
from ml.metrics.classification import Classification, LabelMetrics, Majority, RecallGap
from ml.metrics.comparison import AccuracyByRole, Comparison, LogLossByRole, McNemar, RightTable, Role
from ml.metrics.estimate import Bounded, Estimate
from ml.metrics.promise import CheckedPromise, PromiseMetrics
from ml.metrics.shift import Level
from ml.metrics.slices import SliceMetrics, SlicingMetrics, TitledSlice


class EvaluationMetrics(Classification):
    """All metrics of the test faces, as `metrics.json` holds them.

    Attributes:
        ece: Expected calibration error.
        brier: Brier score.
        calibration: Calibration before and after temperature scaling.
        abstention: Coverage and accuracy when unsure faces are predicted 'unknown'.
        promises: Stated risks checked on the test faces; None if the run sets a threshold of its own.
        slices: Metrics by slice.
        miap: Agreement with MIAP; None if the release holds nothing from MIAP.
    """

    ece: Estimate
    brier: Estimate
    calibration: CalibrationMetrics
    abstention: AbstentionMetrics
    promises: PromiseMetrics | None = None
    slices: SliceMetrics
    miap: MiapMetrics | None


class Headline(Record):
    """The metrics that MLflow tracks, as described in `EvaluationMetrics`."""

    faces: int
    images: int
    accuracy: Bounded
    majority: Majority
    beats_majority: bool
    balanced_accuracy: Estimate
    recall_gap: RecallGap
    by_label: dict[str, LabelMetrics]
    auc: Estimate
    log_loss: Estimate
    brier: Estimate
    ece: Estimate

    @classmethod
    def of(cls, metrics: EvaluationMetrics) -> Headline:
        """Return the headline of all metrics."""
        return Headline(**{name: getattr(metrics, name) for name in Headline.model_fields})


class DriftSummary(Record):
    """Whether the data of a run have drifted.

    Attributes:
        run_id: The run whose data they were compared with.
        level: The highest level of all differences.
        line: One line about it.
        metrics: URI of `drift.json`.
    """

    run_id: str
    level: Level
    line: str
    metrics: str


class EvaluationSummary(Headline):
    """The numbers of stage evaluate that the page of a run shows.

    Attributes:
        abstention: Coverage and accuracy at the confidence that the run requires.
        promise: The run's own `max_risk` checked on the test faces; None without one.
        worst_slice: The slice of enough faces with the lowest accuracy; None without such a slice.
        age: The slicings that tell the age of the faces; none in attempts of older versions.
        drift: Drift of the data; None if there was no earlier run to compare with.
    """

    abstention: Abstention
    promise: CheckedPromise | None = None
    worst_slice: TitledSlice | None
    age: list[SlicingMetrics] = []
    drift: DriftSummary | None = None


class EvaluationRecord(EvaluationSummary):
    """The record of stage evaluate: numbers, and the URIs of its files.

    Attributes:
        report: URI of the report.
        card: URI of the model card.
        metrics: URI of `metrics.json`.
        predictions: URI of the table of predictions.
        model: URI of the evaluated attempt of stage train.
        plots: URI of each figure, by name.
    """

    report: str
    card: str
    metrics: str
    predictions: str
    model: str
    plots: dict[str, str]


class ComparedModel(Record):
    """One of the two models of a comparison.

    Attributes:
        attempt: URI of the model's attempt of stage train.
        network: Name of the network.
        threshold: The model's decision threshold.
    """

    attempt: str
    network: str
    threshold: float


class _Models(Record):
    models: dict[Role, ComparedModel]


class ComparisonMetrics(Comparison, _Models):  # the fields of the base on the right come first in the JSON
    """A comparison with its models, as `compare.json` holds it.

    Attributes:
        models: The two models.
    """


class ComparisonSummary(Record):
    """The numbers of stage compare that the page of a run shows, as described in `Comparison`."""

    models: dict[Role, ComparedModel]
    faces: int
    images: int
    accuracy: AccuracyByRole
    log_loss: LogLossByRole
    accuracy_difference: Bounded
    log_loss_difference: Estimate
    table: RightTable
    mcnemar: McNemar


class ComparisonRecord(ComparisonSummary):
    """The record of stage compare: numbers, and the URIs of its files.

    Attributes:
        report: URI of the page.
        metrics: URI of `compare.json`.
        plots: URI of each figure, by name.
    """

    report: str
    metrics: str
    plots: dict[str, str]


class SuspectCount(Record):
    """Counts of the faces with one label in one split.

    Attributes:
        split: The split.
        label: The given label.
        faces: Number of faces.
        suspects: How many of them have a suspect label.
    """

    split: str
    label: str
    faces: int
    suspects: int


class SuspectsRecord(Record):
    """The record of stage suspects: counts, and the URIs of its files.

    Attributes:
        faces: Number of faces whose label was judged.
        suspects: How many of them have a suspect label.
        counts: Both by split and label.
        excluded: Faces that this run's training already left out.
        unjudged: Training faces without an out-of-fold estimate, because a label is on too few images.
        report: URI of the page.
        suspect_list: URI of the CSV file.
        scores: URI of the table of all scores.
        plots: URI of each contact sheet, by name.
    """

    faces: int
    suspects: int
    counts: list[SuspectCount]
    excluded: int
    unjudged: int
    report: str
    suspect_list: str
    scores: str
    plots: dict[str, str]
