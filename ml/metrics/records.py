"""What stages evaluate and compare state about their output, and the files of numbers that they write."""

from __future__ import annotations

from ml.flow.record import Record
from ml.metrics.abstention import Abstention, AbstentionMetrics
from ml.metrics.agreement import MiapMetrics
from ml.metrics.calibration import CalibrationMetrics
from ml.metrics.classification import Classification, LabelMetrics, Majority, RecallGap
from ml.metrics.comparison import AccuracyByRole, Comparison, LogLossByRole, McNemar, RightTable, Role
from ml.metrics.estimate import Bounded, Estimate
from ml.metrics.slices import SliceMetrics, TitledSlice


class EvaluationMetrics(Classification):
    """All metrics of the test faces: `metrics.json`.

    Attributes:
        ece: Expected calibration error.
        brier: Brier score.
        calibration: Calibration before and after temperature scaling.
        abstention: What answering 'unknown' buys and costs.
        slices: For whom the model fails.
        miap: Agreement with MIAP; None where the release has nothing from it.
    """

    ece: Estimate
    brier: Estimate
    calibration: CalibrationMetrics
    abstention: AbstentionMetrics
    slices: SliceMetrics
    miap: MiapMetrics | None


class Headline(Record):
    """The metrics that are tracked in MLflow; described in `EvaluationMetrics`."""

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


class EvaluationSummary(Headline):
    """The numbers that stage evaluate states, which the page of a run shows.

    Attributes:
        abstention: What answering 'unknown' buys and costs at the run's own confidence.
        worst_slice: The slice of enough faces with the lowest accuracy; None without such a slice.
    """

    abstention: Abstention
    worst_slice: TitledSlice | None


class EvaluationRecord(EvaluationSummary):
    """What stage evaluate states about its output: numbers, and the URIs of its files.

    Attributes:
        report: Of the report.
        card: Of the model card.
        metrics: Of `metrics.json`.
        predictions: Of the table of predictions.
        model: The attempt of stage train that was evaluated.
        plots: Of each figure, by name.
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
        attempt: URI of its attempt of stage train.
        network: Name of its network.
        threshold: Its decision threshold.
    """

    attempt: str
    network: str
    threshold: float


class _Models(Record):
    models: dict[Role, ComparedModel]


class ComparisonMetrics(Comparison, _Models):  # the fields of the base on the right come first in the JSON
    """All of a comparison: `compare.json`.

    Attributes:
        models: The two models.
    """


class ComparisonSummary(Record):
    """The numbers that stage compare states, which the page of a run shows; described in `Comparison`."""

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
    """What stage compare states about its output: numbers, and the URIs of its files.

    Attributes:
        report: Of the page.
        metrics: Of `compare.json`.
        plots: Of each figure, by name.
    """

    report: str
    metrics: str
    plots: dict[str, str]
