"""Stage compare: the run's model and another one, the baseline, on the same test faces.

Files written: `compare.json`, `differences.png`, `compare.html`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ml import storage
from ml.errors import ConfigurationError
from ml.metrics.comparison import ROLES, measure
from ml.metrics.slices import ENOUGH_FACES
from ml.model.classifier import Classifier
from ml.report.figures import evaluation as evaluation_figures
from ml.report.html import render_comparison
from ml.report.subject import subject
from ml.stages.predictions import Collector, ask, load_classifier
from ml.workflow.execution import Context, Result
from ml.workflow.manifest import Manifest
from ml.workflow.opening import find_baseline

log = logging.getLogger(__name__)


def compare(context: Context) -> Result:
    """Compare the model of stage `train` with that of the attempt which the configuration names as baseline.

    Each model answers by its own threshold.

    Raises:
        ConfigurationError: No baseline is named, or it is no committed attempt of stage train.
        GuardError: One of the models does not fit the features: other labels, their other order, or another chip size.
        DataError: A model is damaged, or the test split holds no faces.
    """
    config, features = context.config, context.inputs["featurize"]
    if not config.baseline:
        raise ConfigurationError("There is nothing to compare with.", "Name an attempt of stage train as baseline.")
    attempts = dict(zip(ROLES, (context.inputs["train"], find_baseline(config.baseline)), strict=True))
    classifiers = {role: load_classifier(attempt, features, config.label_order) for role, attempt in attempts.items()}
    collectors = {
        role: Collector(config.label_order, classifier.description.threshold)
        for role, classifier in classifiers.items()
    }
    for batch, probabilities in ask(features, list(classifiers.values())):
        for collector, answers in zip(collectors.values(), probabilities, strict=True):
            collector.add(batch, answers)
    told = {role: collector.answers() for role, collector in collectors.items()}
    comparison = {"models": {role: _about(attempts[role], classifiers[role]) for role in ROLES}, **measure(**told)}
    return _write(context, comparison)


def _about(attempt: Manifest, classifier: Classifier) -> dict[str, Any]:
    description = classifier.description
    return {"attempt": attempt.uri, "network": description.network, "threshold": description.threshold}


def _write(context: Context, comparison: Mapping[str, Any]) -> Result:
    """Write the attempt's files and give its metrics."""
    overall = comparison["accuracy_difference"]
    groups = [("All test faces", [("together", overall)])]
    groups += [(p["title"], [(r["name"], r["difference"]) for r in p["slices"]]) for p in comparison["slices"]]
    plot = evaluation_figures.intervals(
        groups,
        f"Difference in accuracy, {subject(context.config)}",
        "accuracy of the model less that of the baseline, 95% interval (faces in brackets)",
        0.0,
        "no difference",
        ENOUGH_FACES,
    )
    storage.write_bytes(context.path("differences.png"), plot)
    storage.write_json(context.path("compare.json"), comparison)
    storage.write_bytes(context.path("compare.html"), render_comparison(context, comparison, plot).encode())
    log.info(
        "accuracy less that of the baseline: %+.4f (95%% interval %+.4f to %+.4f) on %d test faces, McNemar p = %.3g",
        *(overall["value"], overall["low"], overall["high"], comparison["faces"], comparison["mcnemar"]["p_value"]),
    )
    return Result(
        {
            **{name: value for name, value in comparison.items() if name not in ("slices", "intervals")},
            "report": context.path("compare.html"),
            "metrics": context.path("compare.json"),
            "plots": {"differences": context.path("differences.png")},
        }
    )
