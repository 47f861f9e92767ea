"""Stage compare: compares the run's model with another model, the baseline, on the same test faces.

It writes the files `compare.json`, `differences.svg` and `compare.html`.
"""

from __future__ import annotations

import datetime
import logging

from ml import storage
from ml.errors import ConfigurationError
from ml.metrics.comparison import ROLES, measure
from ml.metrics.records import ComparedModel, ComparisonMetrics, ComparisonRecord, ComparisonSummary
from ml.model.classifier import Classifier
from ml.report.data import ComparisonData
from ml.report.figures.evaluation import accuracy_differences
from ml.report.html import render_comparison
from ml.report.subject import subject
from ml.stages.predictions import Collector, ask, load_classifier
from ml.workflow.execution import Context, Result
from ml.workflow.find import find_training
from ml.workflow.manifest import Manifest

log = logging.getLogger(__name__)


def compare(context: Context) -> Result:
    """Compare the model of stage `train` with that of the attempt that the configuration names as baseline.

    Each model predicts with its own threshold.

    Raises:
        ConfigurationError: No baseline is named, or it is not a committed attempt of stage train.
        GuardError: A model does not match the features: the labels, their order, or the chip size differ.
        DataError: A model is damaged, or the test split holds no faces.
    """
    config, features = context.config, context.inputs["featurize"]
    if not config.baseline:
        raise ConfigurationError("No baseline is set.", "Name an attempt of stage train as baseline.")
    attempts = dict(zip(ROLES, (context.inputs["train"], find_training(config.baseline, "baseline")), strict=True))
    classifiers = {role: load_classifier(attempt, features, config.label_order) for role, attempt in attempts.items()}
    collectors = {
        role: Collector(config.label_order, classifier.description.threshold)
        for role, classifier in classifiers.items()
    }
    for batch, probabilities in ask(features, list(classifiers.values())):
        for collector, answers in zip(collectors.values(), probabilities, strict=True):
            collector.add(batch, answers)
    model, baseline = (collectors[role].answers() for role in ROLES)
    models = {role: _about(attempts[role], classifiers[role]) for role in ROLES}
    return _write(context, ComparisonMetrics(models=models, **dict(measure(model, baseline))))


def _about(attempt: Manifest, classifier: Classifier) -> ComparedModel:
    description = classifier.description
    return ComparedModel(attempt=attempt.uri, network=description.network, threshold=description.threshold)


def _write(context: Context, comparison: ComparisonMetrics) -> Result:
    """Write the attempt's files and return its record."""
    about = subject(context.config)
    plot = accuracy_differences(comparison, about)
    page = ComparisonData(
        run_id=context.run.run_id,
        subject=about,
        written=datetime.datetime.now(datetime.UTC),
        comparison=comparison,
        plot=plot,
    )
    storage.write_bytes(context.path("differences.svg"), plot)
    storage.write_json(context.path("compare.json"), comparison.json_values())
    storage.write_bytes(context.path("compare.html"), render_comparison(page).encode())
    overall = comparison.accuracy_difference
    log.info(
        "accuracy minus that of the baseline: %+.4f (95%% interval %+.4f to %+.4f) on %d test faces, McNemar p = %.3g",
        *(overall.value, overall.low, overall.high, comparison.faces, comparison.mcnemar.p_value),
    )
    return Result(
        ComparisonRecord(
            **{name: getattr(comparison, name) for name in ComparisonSummary.model_fields},
            report=context.path("compare.html"),
            metrics=context.path("compare.json"),
            plots={"differences": context.path("differences.svg")},
        )
    )
