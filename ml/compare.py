"""Stage compare: the run's model and another one, the baseline, on the same test faces.

Files written: `compare.json`, `differences.png`, `compare.html`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import binomtest

from ml import evaluation_plots, storage
from ml.answers import Answers, Collector, ask, load_classifier
from ml.calibration import face_log_losses
from ml.errors import ConfigurationError
from ml.intervals import METHOD, ImageBootstrap, estimate, ratios
from ml.manifests import Manifest
from ml.model import Classifier
from ml.report import render_comparison, subject
from ml.runs import find_baseline
from ml.slices import COLUMNS, ENOUGH_FACES, slice_differences
from ml.stages import Context, Result

log = logging.getLogger(__name__)
ROLES = ("model", "baseline")


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


def measure(model: Answers, baseline: Answers) -> dict[str, Any]:
    """The paired comparison of two models' answers to the same faces, as JSON values.

    Differences are the model's number less the baseline's, with intervals of one bootstrap of images for both.

    Returns:
        `faces`, `images`, `intervals`; by role `accuracy` and `log_loss`; `accuracy_difference`,
        `log_loss_difference`; `table` of faces that `both`, `only_model`, `only_baseline` or `neither` answer right;
        `mcnemar`, the exact test (McNemar, 1947) that the two are right equally often: `p_value` and `discordant`
        faces, taken as independent; and `slices`, the accuracies and their difference by slice.
    """
    truth, count = model.truth, len(model.truth)
    bootstrap = ImageBootstrap(model.columns["image_id"])
    everyone = np.ones(count, bool)
    right = {"model": model.predicted == truth, "baseline": baseline.predicted == truth}
    accuracies = bootstrap.shares([(mask, everyone) for mask in right.values()])
    losses = [face_log_losses(answers.probabilities, truth) for answers in (model, baseline)]
    losses.append(losses[0] - losses[1])
    sums = bootstrap.sums([everyone, *losses])
    log_losses = [
        estimate(float(loss.mean()), ratios(sums[:, number], sums[:, 0]), count, bootstrap.images)
        for number, loss in enumerate(losses, 1)
    ]
    gained = right["model"].astype(np.int64) - right["baseline"]
    columns = {name: values for name, values in model.columns.items() if name in COLUMNS}
    overall, slices = slice_differences(columns, right, bootstrap)
    won, lost = int((gained == 1).sum()), int((gained == -1).sum())
    return {
        "faces": count,
        "images": bootstrap.images,
        "intervals": METHOD,
        "accuracy": dict(zip(ROLES, accuracies, strict=True)),
        "log_loss": dict(zip(ROLES, log_losses, strict=False)),
        "accuracy_difference": overall,
        "log_loss_difference": log_losses[2],
        "table": {
            "both": int((right["model"] & right["baseline"]).sum()),
            "only_model": won,
            "only_baseline": lost,
            "neither": int((~right["model"] & ~right["baseline"]).sum()),
        },
        "mcnemar": {
            "p_value": float(binomtest(won, won + lost).pvalue) if won + lost else 1.0,
            "discordant": won + lost,
        },
        "slices": slices,
    }


def _about(attempt: Manifest, classifier: Classifier) -> dict[str, Any]:
    description = classifier.description
    return {"attempt": attempt.uri, "network": description.network, "threshold": description.threshold}


def _write(context: Context, comparison: Mapping[str, Any]) -> Result:
    """Write the attempt's files and give its metrics."""
    overall = comparison["accuracy_difference"]
    groups = [("All test faces", [("together", overall)])]
    groups += [(p["title"], [(r["name"], r["difference"]) for r in p["slices"]]) for p in comparison["slices"]]
    plot = evaluation_plots.intervals(
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
