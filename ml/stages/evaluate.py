"""Stage evaluate: predicts the test split, and writes metrics, plots, examples, the report and the model card.

Files written: `metrics.json`; `predictions.parquet` (face_id, image_id, label, predicted, and probability: that of the
second label); plots `confusion_matrix`, `roc`, `precision_recall`, `reliability`, `risk_coverage`, `curves` and, if the
features have columns to slice by, `slices`; contact sheets `correct`, `wrong`, `grad_cam_correct` and `grad_cam_wrong`
if there are such faces (sheets are PNG, plots SVG); `report.html`; `model_card.md`; `profile.json` (a description of
the data, for comparisons); with an earlier run to compare with, `drift.json` and the plots `drift_distributions` and
`drift_shares`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ml import storage
from ml.features.columns import MIAP_LABEL
from ml.flow.records import Agreement, LabelsRecord
from ml.metrics.abstention import Abstention, abstention_metrics
from ml.metrics.agreement import miap_metrics
from ml.metrics.bootstrap import ImageBootstrap
from ml.metrics.calibration import calibration_metrics
from ml.metrics.classification import classification_metrics
from ml.metrics.drift import DriftMetrics
from ml.metrics.predictions import TestPredictions
from ml.metrics.promise import PromiseMetrics, RiskTable, promise_metrics
from ml.metrics.records import EvaluationMetrics, EvaluationRecord, Headline
from ml.metrics.slices import slice_metrics
from ml.model.record import TrainingRecord
from ml.report.card import render_card
from ml.report.figures.evaluation import draw_plots
from ml.report.formats import file_of
from ml.report.html import render_report
from ml.report.subject import subject
from ml.stages.drift import drift_summary, look_for_drift
from ml.stages.examples import Examples
from ml.stages.predictions import Collector, ask, load_classifier
from ml.stages.report_data import report_data
from ml.tracking import evaluation
from ml.workflow.execution import Context, Result

log = logging.getLogger(__name__)


def evaluate(context: Context) -> Result:
    """Evaluate the model of stage `train` on the test split of stage `featurize` only.

    Threshold and temperature are the model's, chosen on the validation split; the run may set another threshold.

    Raises:
        GuardError: Labels, chip size or pixels differ from those that the model was trained on.
        DataError: The test split holds no faces, or does not match its manifest.
    """
    config, features, trained = context.config, context.inputs["featurize"], context.inputs["train"]
    classifier = load_classifier(trained, features, config.label_order)
    threshold = classifier.description.threshold if config.threshold is None else config.threshold
    collector, examples = Collector(config.label_order, threshold), Examples(config.label_order, threshold)
    for batch, (probabilities,) in ask(features, [classifier]):
        collector.add(batch, probabilities)
        examples.add(batch, probabilities)
    answers = collector.answers()
    joined = context.inputs.get("join_labels")
    miap_counts = joined.record(LabelsRecord).miap if joined else None
    # The table was made at the model's own threshold.
    table = classifier.description.risk if config.threshold is None else None
    promises = check_promises(answers, table, config.max_risk)
    metrics = measure(answers, classifier.description.temperature, config.min_confidence, miap_counts, promises)
    figures = {
        **draw_plots(metrics, answers, subject(config)),
        "curves": storage.read_bytes(trained.file("curves.svg")),
        **examples.sheets(classifier.network),
    }
    drift, drawn = look_for_drift(context)
    return _write(context, metrics, answers, figures | drawn, examples.image_ids, drift)


def check_promises(
    answers: TestPredictions, table: RiskTable | None, max_risk: float | None = None
) -> PromiseMetrics | None:
    """Check the model's promises on the test faces.

    Args:
        answers: The model's predictions.
        table: What the promises are made of; None if there is nothing to make them of.
        max_risk: The run's own stated risk; None without one.
    """
    if table is None:
        return None
    bootstrap = ImageBootstrap(answers.columns["image_id"])
    return promise_metrics(table, max_risk, answers.truth, answers.probabilities, answers.predicted, bootstrap)


def measure(
    answers: TestPredictions,
    temperature: float = 1.0,
    min_confidence: float = 0.75,
    miap_counts: Mapping[str, Mapping[str, Agreement]] | None = None,
    promises: PromiseMetrics | None = None,
) -> EvaluationMetrics:
    """Compute all metrics of the test faces.

    Args:
        answers: The model's predictions.
        temperature: The temperature that is built into the model.
        min_confidence: Below this confidence a face is predicted 'unknown', unless the run's own promise decides.
        miap_counts: MIAP counts of stage join_labels, see `miap_metrics`.
        promises: The model's promises, checked on the same faces.
    """
    labels, truth, predicted = answers.labels, answers.truth, answers.predicted
    bootstrap = ImageBootstrap(answers.columns["image_id"])
    classification = classification_metrics(labels, truth, answers.probabilities, answers.threshold, bootstrap)
    own = promises.own if promises else None
    limit = own.promise.min_confidence if own and own.promise else min_confidence
    calibration = calibration_metrics(truth, answers.probabilities, temperature, bootstrap)
    return EvaluationMetrics(
        **dict(classification),
        ece=calibration.after.ece,
        brier=calibration.after.brier,
        calibration=calibration,
        abstention=abstention_metrics(truth, answers.probabilities, predicted, limit, bootstrap),
        promises=promises,
        slices=slice_metrics(labels, truth, predicted, answers.columns, bootstrap),
        miap=miap_metrics(labels, truth, predicted, answers.columns.get(MIAP_LABEL), miap_counts, bootstrap),
    )


def _write(
    context: Context,
    metrics: EvaluationMetrics,
    answers: TestPredictions,
    figures: dict[str, bytes],
    shown: list[str],
    drift: DriftMetrics | None,
) -> Result:
    """Write the attempt's files and return its record."""
    trained = context.inputs["train"]
    data = report_data(context, metrics, figures, shown, drift)
    pages = {"report.html": render_report(data).encode(), "model_card.md": render_card(data).encode()}
    pictures = {file_of(name, picture): picture for name, picture in figures.items()}
    for path, content in (pictures | pages).items():
        storage.write_bytes(context.path(path), content)
    storage.write_json(context.path("metrics.json"), metrics.json_values())
    storage.write_bytes(context.path("predictions.parquet"), answers.parquet())
    accuracy, majority = metrics.accuracy, metrics.majority
    log.info(
        "accuracy %.4f (95%% interval %.4f to %.4f) on %d test faces of %d images; always predicting %s: %.4f",
        *(accuracy.value, accuracy.low, accuracy.high, metrics.faces, metrics.images),
        *(majority.label, majority.value),
    )
    headline = Headline.of(metrics)
    evaluation.log_evaluation(
        trained.record(TrainingRecord).mlflow, context.uri, headline.json_values(), pictures | pages
    )
    return Result(
        EvaluationRecord(
            **dict(headline),
            abstention=Abstention(**dict(metrics.abstention)),
            promise=metrics.promises.own if metrics.promises else None,
            worst_slice=metrics.slices.worst,
            age=metrics.slices.by_age,
            drift=drift_summary(context, drift) if drift else None,
            report=context.path("report.html"),
            card=context.path("model_card.md"),
            metrics=context.path("metrics.json"),
            predictions=context.path("predictions.parquet"),
            model=trained.uri,
            plots={name: context.path(file_of(name, picture)) for name, picture in figures.items()},
        )
    )
