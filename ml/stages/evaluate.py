"""Stage evaluate: the model's answers on the test split, their metrics, plots and examples, the report and the card.

Files written: `metrics.json`; `predictions.parquet` (face_id, image_id, label, predicted, and probability: that of the
second label); plots `confusion_matrix`, `roc`, `precision_recall`, `reliability`, `risk_coverage`, `curves` and, where
the features have columns to slice by, `slices`; contact sheets `correct`, `wrong`, `grad_cam_correct` and
`grad_cam_wrong` where there are such faces (all PNG); `report.html`; `model_card.md`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ml import storage
from ml.features.columns import MIAP_LABEL
from ml.metrics.abstention import abstention_metrics
from ml.metrics.agreement import miap_metrics
from ml.metrics.bootstrap import ImageBootstrap
from ml.metrics.calibration import calibration_metrics
from ml.metrics.classification import check_headline, classification_metrics
from ml.metrics.predictions import TestPredictions
from ml.metrics.slices import slice_metrics
from ml.model.record import TrainingRecord
from ml.report.card import render_card
from ml.report.figures import evaluation as evaluation_figures
from ml.report.html import render_report
from ml.report.subject import subject
from ml.stages.examples import Examples
from ml.stages.predictions import Collector, ask, load_classifier
from ml.tracking import evaluation
from ml.workflow.execution import Context, Result
from ml.workflow.manifest import Manifest

log = logging.getLogger(__name__)


def evaluate(context: Context) -> Result:
    """Evaluate the model of stage `train` on the test split of stage `featurize`, and nothing else.

    Threshold and temperature are the model's, chosen on the validation split; the run may set another threshold.

    Raises:
        GuardError: Labels, chip size or pixels are not those that the model was trained on.
        DataError: The test split holds no faces, or not those that its manifest states.
        MetricsError: A figure does not count what it says, or the accuracy lacks its interval or the baseline.
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
    miap_counts = joined.metrics.get("miap") if joined else None
    metrics = measure(answers, classifier.description.temperature, config.min_confidence, miap_counts)
    check_headline(metrics)  # before anything is written
    figures = {
        **_plots(metrics, answers, subject(config)),
        "curves": storage.read_bytes(trained.file("curves.png")),
        **examples.sheets(classifier.network),
    }
    return _write(context, metrics, answers, figures, examples.image_ids)


def measure(
    answers: TestPredictions,
    temperature: float = 1.0,
    min_confidence: float = 0.75,
    miap_counts: Mapping[str, Mapping[str, Mapping[str, int]]] | None = None,
) -> dict[str, Any]:
    """All metrics of the test faces, as JSON values.

    Args:
        answers: Of the model.
        temperature: That the model has inside.
        min_confidence: Below this confidence a face is answered 'unknown'.
        miap_counts: What stage join_labels counted of MIAP, see `miap_metrics`.

    Returns:
        What `classification_metrics` gives, and `ece`, `brier`, `calibration`, `abstention`, `slices` and `miap`.
    """
    labels, truth, predicted = answers.labels, answers.truth, answers.predicted
    bootstrap = ImageBootstrap(answers.columns["image_id"])
    metrics = classification_metrics(labels, truth, answers.probabilities, answers.threshold, bootstrap)
    calibration = calibration_metrics(truth, answers.probabilities, predicted, temperature, bootstrap)
    return {
        **metrics,
        "ece": calibration["after"]["ece"],
        "brier": calibration["after"]["brier"],
        "calibration": calibration,
        "abstention": abstention_metrics(truth, answers.probabilities, predicted, min_confidence, bootstrap),
        "slices": slice_metrics(labels, truth, predicted, answers.columns, bootstrap),
        "miap": miap_metrics(labels, truth, predicted, answers.columns.get(MIAP_LABEL), miap_counts, bootstrap),
    }


def _plots(metrics: dict[str, Any], answers: TestPredictions, about: str) -> dict[str, bytes]:
    labels, truth, probabilities = answers.labels, answers.truth, answers.probabilities
    averages = [metrics["by_label"][label]["average_precision"]["value"] for label in labels]
    figures = {
        "confusion_matrix": evaluation_figures.confusion_matrix(labels, metrics["confusion"]["counts"], about),
        "roc": evaluation_figures.roc_curve(
            labels, truth, probabilities, answers.threshold, metrics["auc"]["value"], about
        ),
        "precision_recall": evaluation_figures.precision_recall(
            labels, truth, probabilities, answers.predicted, averages, about
        ),
        "reliability": evaluation_figures.reliability(metrics["calibration"], metrics["faces"]),
        "risk_coverage": evaluation_figures.risk_coverage(metrics["abstention"], metrics["faces"]),
    }
    if by := metrics["slices"]["by"]:
        figures["slices"] = evaluation_figures.intervals(
            [(part["title"], [(row["name"], row["accuracy"]) for row in part["slices"]]) for part in by],
            f"Accuracy by slice, {about}",
            "accuracy with its 95% interval (faces in brackets)",
            metrics["accuracy"]["value"],
            "all test faces",
            metrics["slices"]["enough_faces"],
        )
    return figures


def _write(
    context: Context, metrics: dict[str, Any], answers: TestPredictions, figures: dict[str, bytes], shown: list[str]
) -> Result:
    """Write the attempt's files and give its metrics."""
    trained: Manifest = context.inputs["train"]
    for name, png in figures.items():
        storage.write_bytes(context.path(f"{name}.png"), png)
    storage.write_json(context.path("metrics.json"), metrics)
    storage.write_bytes(context.path("predictions.parquet"), answers.parquet())
    pages = {
        "report.html": render_report(context, metrics, figures, shown).encode(),
        "model_card.md": render_card(context, metrics, shown).encode(),
    }
    for name, page in pages.items():
        storage.write_bytes(context.path(name), page)
    accuracy = metrics["accuracy"]
    log.info(
        "accuracy %.4f (95%% interval %.4f to %.4f) on %d test faces of %d images; always %s: %.4f",
        *(accuracy["value"], accuracy["low"], accuracy["high"], metrics["faces"], metrics["images"]),
        *(metrics["majority"]["label"], metrics["majority"]["value"]),
    )
    told = (
        *("faces", "images", "accuracy", "majority", "beats_majority", "balanced_accuracy", "recall_gap", "by_label"),
        *("auc", "log_loss", "brier", "ece"),
    )
    pictures = {f"{name}.png": png for name, png in figures.items()}
    evaluation.log_evaluation(
        trained.record(TrainingRecord).mlflow, context.uri, {name: metrics[name] for name in told}, pictures | pages
    )
    return Result(
        {
            **{name: metrics[name] for name in told},
            "abstention": {name: value for name, value in metrics["abstention"].items() if name != "curve"},
            "worst_slice": metrics["slices"]["worst"],
            "report": context.path("report.html"),
            "card": context.path("model_card.md"),
            "metrics": context.path("metrics.json"),
            "predictions": context.path("predictions.parquet"),
            "model": trained.uri,
            "plots": {name: context.path(f"{name}.png") for name in figures},
        }
    )
