"""Compare the predictions of two models on the same faces."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import binomtest

from ml.features.columns import SLICES
from ml.metrics.bootstrap import ImageBootstrap
from ml.metrics.calibration import face_log_losses
from ml.metrics.estimate import METHOD, estimate, ratios
from ml.metrics.predictions import TestPredictions
from ml.metrics.slices import slice_differences

ROLES = ("model", "baseline")


def measure(model: TestPredictions, baseline: TestPredictions) -> dict[str, Any]:
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
    columns = {name: values for name, values in model.columns.items() if name in SLICES}
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
