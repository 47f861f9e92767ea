"""Calibration of a two-label classifier: fit a temperature and a threshold, and measure the calibration error.

Temperature scaling (Guo et al., 2017, 'On Calibration of Modern Neural Networks') divides all logits by one number. It
changes no ranking and therefore no ROC curve. The module needs only numpy and scipy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ml.flow.record import Record
from ml.metrics.bootstrap import ImageBootstrap
from ml.metrics.decision import given_confidence
from ml.metrics.estimate import Estimate, estimate

SMALLEST_PROBABILITY = 1e-7  # float32 softmax gives exact zeros; Keras clips its cross-entropy at the same value
TEMPERATURES = (0.05, 20.0)  # every trained network falls inside; perfectly separated faces would push it to 0
THRESHOLDS = (0.05, 0.95)
SMOOTHING = 2.0  # in log-odds: about the standard deviation among the faces of one label
BINS = 15
FACES_PER_BIN = 20  # at least; the accuracy of fewer faces varies too much to draw or to measure a distance from it

Probabilities = NDArray[np.floating]
Truth = NDArray[np.integer]


class ReliabilityBin(Record):
    """A bin of faces with similar confidence.

    Attributes:
        confidence: Mean confidence of the bin's faces.
        accuracy: Accuracy on the bin's faces.
    """

    confidence: float
    accuracy: Estimate


class Calibration(Record):
    """Calibration of one set of probabilities.

    Attributes:
        ece: Expected calibration error.
        brier: Brier score.
        log_loss: Log loss in nats per face.
        reliability: The bins, by ascending confidence.
    """

    ece: Estimate
    brier: Estimate
    log_loss: Estimate
    reliability: list[ReliabilityBin]


class CalibrationMetrics(Record):
    """Calibration before and after temperature scaling.

    Attributes:
        temperature: The model's temperature.
        bins: Maximum number of bins.
        before: Calibration without the temperature.
        after: Calibration with the temperature.
    """

    temperature: float
    bins: int
    before: Calibration
    after: Calibration


def face_log_losses(probabilities: Probabilities, truth: Truth) -> NDArray[np.float64]:
    """Return the negative log of each face's annotated label's probability, in nats: shape (n,), 0 to 16.1."""
    chosen = np.asarray(probabilities, np.float64)[np.arange(len(truth)), truth]
    return -np.log(np.clip(chosen, SMALLEST_PROBABILITY, 1.0))


def face_briers(probabilities: Probabilities, truth: Truth) -> NDArray[np.float64]:
    """Return each face's squared error of the second label's probability (Brier, 1950).

    Returns:
        Shape (n,), 0 to 1; a probability of one half scores 0.25.
    """
    return np.square(np.asarray(probabilities, np.float64)[:, 1] - truth)


def brier(probabilities: Probabilities, truth: Truth) -> float:
    """Return the mean of `face_briers`."""
    return float(face_briers(probabilities, truth).mean())


def apply_temperature(probabilities: Probabilities, temperature: float) -> NDArray[np.float64]:
    """Return the probabilities that the network would give if its logits were divided by `temperature`.

    A softmax discards only a constant of its logits, so softmax(log(p) / T) equals softmax(logits / T). Applying 1 / T
    therefore undoes T, except for probabilities of 0 and 1, which are clipped to `SMALLEST_PROBABILITY` away from them.

    Args:
        probabilities: Shape (n, 2), rows that sum to 1.
        temperature: Values above 1 move probabilities toward one half, values below 1 away from it.

    Returns:
        Shape (n, 2), rows that sum to 1.
    """
    from scipy.special import softmax

    logits = np.log(np.clip(np.asarray(probabilities, np.float64), SMALLEST_PROBABILITY, 1.0))
    scaled: NDArray[np.float64] = softmax(logits / temperature, axis=1)
    return scaled


def fit_temperature(probabilities: Probabilities, truth: Truth) -> float:
    """Fit the temperature that minimizes the log loss on faces that the network was not trained on.

    Args:
        probabilities: Probabilities of the network as trained, shape (n, 2).
        truth: Annotated label index of each face, shape (n,).

    Returns:
        A value within `TEMPERATURES`; 1, which changes nothing, if no temperature has a lower loss or there are no
        faces. Also 1 if the network is right about all faces: the loss then keeps falling as T approaches 0, so the
        faces do not show how sure the network should be.
    """
    from scipy.optimize import minimize_scalar

    wrong = np.asarray(probabilities).argmax(axis=1) != truth
    if not wrong.any():  # no faces, or no mistakes
        return 1.0

    def loss(logarithm: float) -> float:
        return float(face_log_losses(apply_temperature(probabilities, np.exp(logarithm)), truth).mean())

    low, high = np.log(TEMPERATURES)
    # The loss is convex in 1 / T, so it has one minimum in log T too.
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x)) if found.fun < loss(0.0) else 1.0


def choose_threshold(probabilities: Probabilities, truth: Truth) -> float:
    """Choose the decision threshold at which the recalls of both labels are equal.

    Counted recalls jump from face to face; on a few hundred faces the point where they meet varies by chance. Each face
    is therefore weighted by how far its log-odds are beyond the threshold's: 1 / (1 + exp(-distance / `SMOOTHING`)), a
    kernel's distribution function instead of a step (Zou, Hall and Shapiro, 1997, 'Smooth non-parametric receiver
    operating characteristic curves for continuous diagnostic tests'). Every face contributes, the near ones most.

    Args:
        probabilities: Calibrated probabilities of faces that the network was not trained on, shape (n, 2).
        truth: Annotated label index of each face, shape (n,).

    Returns:
        The threshold at which both smoothed recalls are equal, clipped to `THRESHOLDS`; 0.5 if a label has no faces.
    """
    from scipy.optimize import brentq
    from scipy.special import expit, logit

    log_odds = logit(
        np.clip(np.asarray(probabilities, np.float64)[:, 1], SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    )
    first, second = (log_odds[np.asarray(truth) == index] for index in (0, 1))
    if not len(first) or not len(second):
        return 0.5

    def lead_of_second(threshold: float) -> float:
        """Return the second smoothed recall less the first; it falls from 1 to -1, so it has one root."""
        recalls = (expit((threshold - first) / SMOOTHING).mean(), expit((second - threshold) / SMOOTHING).mean())
        return float(recalls[1] - recalls[0])

    low, high = logit(THRESHOLDS)
    if lead_of_second(low) <= 0:
        return THRESHOLDS[0]
    if lead_of_second(high) >= 0:
        return THRESHOLDS[1]
    return float(expit(brentq(lead_of_second, low, high)))


def calibration_bins(confidence: NDArray[np.floating], bins: int = BINS) -> NDArray[np.int64]:
    """Return the bin of each face's confidence.

    The bins hold equally many faces (Nguyen and O'Connor, 2015), at least `FACES_PER_BIN`. Bins of equal width would
    put most of a good classifier's faces into the last bin and leave the others few and noisy. Faces of equal
    confidence share a bin.

    Args:
        confidence: Confidence of each face, shape (n,).
        bins: Maximum number of bins.

    Returns:
        Bin numbers from 0 by ascending confidence, shape (n,).
    """
    count = max(1, min(bins, len(confidence) // FACES_PER_BIN))
    if not len(confidence):
        return np.zeros(0, np.int64)
    edges = np.unique(np.quantile(confidence, np.linspace(0, 1, count + 1)[1:-1]))
    # Renumbered, because no face may be between two edges.
    return np.unique(np.searchsorted(edges, confidence, side="left"), return_inverse=True)[1].astype(np.int64)


def expected_calibration_error(probabilities: Probabilities, truth: Truth, bins: int = BINS) -> float:
    """Return the mean distance between confidence and accuracy (Naeini et al., 2015) over `calibration_bins`.

    Confidence is the probability of the more probable label, and accuracy the share of faces that have it. Whether
    probabilities mean what they say does not depend on the decision threshold.

    Args:
        probabilities: Shape (n, 2), n at least 1.
        truth: Annotated label index of each face, shape (n,).
        bins: Maximum number of bins.

    Returns:
        0 to 1. Chance alone makes it positive: about 0.4 / sqrt(faces per bin) for a perfectly calibrated model of
        accuracy 0.9.
    """
    confidence, right = _judged(probabilities, truth)
    place = calibration_bins(confidence, bins)
    gap = confidence - right
    return float(np.abs(np.bincount(place, gap)).sum() / len(truth))


def _judged(probabilities: Probabilities, truth: Truth) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the probability of each face's more probable label, and whether that is the annotated one."""
    likely = np.asarray(probabilities).argmax(axis=1)
    return given_confidence(probabilities, likely), likely == truth


def calibration_metrics(
    truth: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    temperature: float,
    bootstrap: ImageBootstrap,
) -> CalibrationMetrics:
    """Measure calibration before and after the temperature that training fitted on the validation split.

    The network divides its logits by the temperature T; without it, it would give `apply_temperature(p, 1 / T)`.

    Args:
        truth: Annotated label index of each face, shape (n,).
        probabilities: The model's probabilities, shape (n, 2).
        temperature: The model's temperature.
        bootstrap: Resamples the faces' images.
    """
    raw = apply_temperature(probabilities, 1 / temperature)
    return CalibrationMetrics(
        temperature=temperature,
        bins=BINS,
        before=_calibration(truth, raw, bootstrap),
        after=_calibration(truth, probabilities, bootstrap),
    )


def _calibration(
    truth: NDArray[np.integer], probabilities: NDArray[np.floating], bootstrap: ImageBootstrap
) -> Calibration:
    count = len(truth)
    confidence, right = _judged(probabilities, truth)
    place = calibration_bins(confidence)
    bins = [place == number for number in range(place.max() + 1)]
    losses = face_log_losses(probabilities, truth)
    everyone = np.ones(count, bool)
    sums = bootstrap.sums(
        [everyone, losses, face_briers(probabilities, truth), *((confidence - right) * inside for inside in bins)]
    )
    means = sums[:, 1:] / sums[:, :1]
    accuracies = bootstrap.shares([(right, inside) for inside in bins])

    def estimated(value: float, draws: NDArray[np.float64]) -> Estimate:
        return estimate(value, draws, count, bootstrap.images)

    error = expected_calibration_error(probabilities, truth)
    return Calibration(
        ece=_mirrored(estimated(error, np.abs(means[:, 2:]).sum(axis=1))),
        brier=estimated(brier(probabilities, truth), means[:, 1]),
        log_loss=estimated(float(losses.mean()), means[:, 0]),
        reliability=[
            ReliabilityBin(confidence=float(confidence[inside].mean()), accuracy=accuracy)
            for inside, accuracy in zip(bins, accuracies, strict=True)
        ],
    )


def _mirrored(ece: Estimate) -> Estimate:
    """Correct the percentile interval of the expected calibration error.

    Chance makes the error measured on the faces larger than the model's true error, and the error of a resample larger
    still, so both percentiles are too high. The upper end stays, which errs on the safe side; the lower end is mirrored
    from it, as in the basic bootstrap (Davison and Hinkley, 1997, section 5.2).
    """
    if ece.high is None:
        return ece
    return ece.model_copy(update={"low": max(0.0, 2 * ece.defined - ece.high)})
