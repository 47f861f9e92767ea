"""What the model's confidence is worth on the test faces: calibration, and abstention where it is unsure.

Confidence is the probability of the label that a face was given. It is below one half for a face that lies between one
half and a decision threshold that is not one half.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.calibration import (
    BINS,
    apply_temperature,
    brier,
    calibration_bins,
    expected_calibration_error,
    face_briers,
    face_log_losses,
    given_confidence,
)
from ml.intervals import ImageBootstrap, estimate

CURVE_POINTS = 20


def calibration_metrics(
    truth: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    predicted: NDArray[np.integer],
    temperature: float,
    bootstrap: ImageBootstrap,
) -> dict[str, Any]:
    """Calibration before and after the temperature that training fitted on the validation split.

    The network divides its logits by the temperature T; without that it would give `apply_temperature(p, 1 / T)`.

    Args:
        truth: Annotated label index of each face, shape (n,).
        probabilities: As the model gives them, shape (n, 2).
        predicted: Label index that each face was given, shape (n,); the same before and after.
        temperature: That of the model.
        bootstrap: Of the faces' images.

    Returns:
        `temperature`, `bins`, and `before` and `after`, each with `ece`, `brier` and `log_loss` with intervals, and
        `reliability`: by bin the mean `confidence` and the `accuracy` with interval.
    """
    raw = apply_temperature(probabilities, 1 / temperature)
    return {
        "temperature": temperature,
        "bins": BINS,
        "before": _calibration(truth, raw, predicted, bootstrap),
        "after": _calibration(truth, probabilities, predicted, bootstrap),
    }


def _calibration(
    truth: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    predicted: NDArray[np.integer],
    bootstrap: ImageBootstrap,
) -> dict[str, Any]:
    count = len(truth)
    place = calibration_bins(probabilities, predicted)
    confidence, right = given_confidence(probabilities, predicted), predicted == truth
    bins = [place == number for number in range(place.max() + 1)]
    losses = face_log_losses(probabilities, truth)
    everyone = np.ones(count, bool)
    sums = bootstrap.sums(
        [everyone, losses, face_briers(probabilities, truth), *((confidence - right) * inside for inside in bins)]
    )
    means = sums[:, 1:] / sums[:, :1]
    accuracies = bootstrap.shares([(right, inside) for inside in bins])

    def told(value: float, draws: NDArray[np.float64]) -> dict[str, Any]:
        return estimate(value, draws, count, bootstrap.images)

    ece = told(expected_calibration_error(probabilities, truth, predicted=predicted), np.abs(means[:, 2:]).sum(axis=1))
    if ece["high"] is not None:
        # Chance makes the error of the faces larger than the model's own, and that of a resample larger again, so the
        # percentiles lie too high. The upper one is kept as the safe side; the lower end is mirrored from it, as the
        # basic bootstrap does (Davison and Hinkley, 1997, section 5.2).
        ece["low"] = max(0.0, 2 * ece["value"] - ece["high"])
    return {
        "ece": ece,
        "brier": told(brier(probabilities, truth), means[:, 1]),
        "log_loss": told(float(losses.mean()), means[:, 0]),
        "reliability": [
            {"confidence": float(confidence[inside].mean()), "accuracy": accuracy}
            for inside, accuracy in zip(bins, accuracies, strict=True)
        ],
    }


def abstention_metrics(
    truth: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    predicted: NDArray[np.integer],
    min_confidence: float,
    bootstrap: ImageBootstrap,
) -> dict[str, Any]:
    """What answering 'unknown' below a confidence buys and costs (El-Yaniv and Wiener, 2010).

    Args:
        truth: Annotated label index of each face, shape (n,).
        probabilities: As the model gives them, shape (n, 2).
        predicted: Label index that each face was given, shape (n,).
        min_confidence: Below this confidence a face is answered 'unknown'.
        bootstrap: Of the faces' images.

    Returns:
        `min_confidence`, `unknown` (faces), `coverage` (share of the faces that get a label), `accuracy` (of those),
        and `curve`: the same at up to `CURVE_POINTS` confidences, from all faces down, with each its `min_confidence`.
    """
    confidence, right = given_confidence(probabilities, predicted), predicted == truth
    everyone = np.ones(len(truth), bool)
    steps = np.unique(np.quantile(confidence, np.arange(CURVE_POINTS) / CURVE_POINTS, method="lower"))
    limits = [min_confidence, *steps]
    answered = [confidence >= limit for limit in limits]
    shares = bootstrap.shares([pair for mask in answered for pair in ((mask, everyone), (right, mask))])
    rows = [
        {"min_confidence": float(limit), "coverage": coverage, "accuracy": accuracy}
        for limit, coverage, accuracy in zip(limits, shares[::2], shares[1::2], strict=True)
    ]
    return {**rows[0], "unknown": int((~answered[0]).sum()), "curve": rows[1:]}
