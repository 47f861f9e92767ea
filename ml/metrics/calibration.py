"""How far a two-label classifier's probabilities can be taken at their word, and what is done about it.

Temperature scaling (Guo et al., 2017, 'On Calibration of Modern Neural Networks') divides all logits by one number: it
changes no ranking and hence no ROC curve. numpy and scipy only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.special import expit, logit, softmax

from ml.flow.record import Record
from ml.metrics.bootstrap import ImageBootstrap
from ml.metrics.decision import given_confidence
from ml.metrics.estimate import Estimate, estimate

SMALLEST_PROBABILITY = 1e-7  # float32 softmax gives exact zeros; Keras clips its cross-entropy at the same value
TEMPERATURES = (0.05, 20.0)  # nothing that learned lies outside; faces that are all told apart would ask for 0
THRESHOLDS = (0.05, 0.95)
SMOOTHING = 2.0  # of log-odds: about the deviation among the faces of one label
BINS = 15

Probabilities = NDArray[np.floating]
Truth = NDArray[np.integer]


class ReliabilityBin(Record):
    """A bin of faces of like confidence.

    Attributes:
        confidence: Its mean.
        accuracy: Of the bin's faces.
    """

    confidence: float
    accuracy: Estimate


class Calibration(Record):
    """How far one set of probabilities can be taken at their word.

    Attributes:
        ece: Expected calibration error.
        brier: Brier score.
        log_loss: In nats a face.
        reliability: The bins, by ascending confidence.
    """

    ece: Estimate
    brier: Estimate
    log_loss: Estimate
    reliability: list[ReliabilityBin]


class CalibrationMetrics(Record):
    """Calibration before and after temperature scaling.

    Attributes:
        temperature: That of the model.
        bins: Number of bins at most.
        before: Without the temperature.
        after: With it.
    """

    temperature: float
    bins: int
    before: Calibration
    after: Calibration


def face_log_losses(probabilities: Probabilities, truth: Truth) -> NDArray[np.float64]:
    """Negative log of the annotated label's probability of each face, in nats: shape (n,), 0 to 16.1."""
    chosen = np.asarray(probabilities, np.float64)[np.arange(len(truth)), truth]
    return -np.log(np.clip(chosen, SMALLEST_PROBABILITY, 1.0))


def face_briers(probabilities: Probabilities, truth: Truth) -> NDArray[np.float64]:
    """Squared error of the second label's probability of each face (Brier, 1950): shape (n,), 0 to 1, a coin 0.25."""
    return np.square(np.asarray(probabilities, np.float64)[:, 1] - truth)


def brier(probabilities: Probabilities, truth: Truth) -> float:
    """Mean of `face_briers`."""
    return float(face_briers(probabilities, truth).mean())


def apply_temperature(probabilities: Probabilities, temperature: float) -> NDArray[np.float64]:
    """The probabilities that the network would give, were its logits divided by `temperature`.

    A softmax forgets only a constant of its logits, so softmax(log(p) / T) equals softmax(logits / T). Hence
    1 / T undoes T, but for probabilities at 0 and 1, which are held `SMALLEST_PROBABILITY` away from them.

    Args:
        probabilities: Shape (n, 2), rows that sum to 1.
        temperature: Above 1 moves towards one half, below 1 away from it.

    Returns:
        Shape (n, 2), rows that sum to 1.
    """
    logits = np.log(np.clip(np.asarray(probabilities, np.float64), SMALLEST_PROBABILITY, 1.0))
    scaled: NDArray[np.float64] = softmax(logits / temperature, axis=1)
    return scaled


def fit_temperature(probabilities: Probabilities, truth: Truth) -> float:
    """The temperature that minimises the log loss, on faces that were not learned from.

    Args:
        probabilities: Of the network as trained, shape (n, 2).
        truth: Annotated label index of each face, shape (n,).

    Returns:
        Within `TEMPERATURES`; 1, that is no change, where none has a lower loss or there are no faces. Where all faces
        are told apart, the loss falls without end as T goes to 0: then too 1, since such faces tell nothing
        of how sure to be.
    """
    wrong = np.asarray(probabilities).argmax(axis=1) != truth
    if not wrong.any():  # empty or told apart
        return 1.0

    def loss(logarithm: float) -> float:
        return float(face_log_losses(apply_temperature(probabilities, np.exp(logarithm)), truth).mean())

    low, high = np.log(TEMPERATURES)
    # The loss is convex in 1 / T, so that it has one minimum in log T too.
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x)) if found.fun < loss(0.0) else 1.0


def choose_threshold(probabilities: Probabilities, truth: Truth) -> float:
    """The threshold at which the second label is given: for both labels the model shall be right equally often.

    Counted recalls jump from face to face, and where they meet on a few hundred faces is chance by some points. Here
    a face counts as found by how far its log-odds lie beyond the threshold's: 1 / (1 + exp(-distance / `SMOOTHING`)), a
    kernel's distribution function in place of the step (Zou, Hall and Shapiro, 1997, 'Smooth non-parametric receiver
    operating characteristic curves for continuous diagnostic tests'). So every face has its say, the near ones most.

    Args:
        probabilities: Calibrated ones, shape (n, 2), of faces that were not learned from.
        truth: Annotated label index of each face, shape (n,).

    Returns:
        Where both smoothed recalls are equal, the nearest within `THRESHOLDS` to it; 0.5 where a label has no face.
    """
    log_odds = logit(
        np.clip(np.asarray(probabilities, np.float64)[:, 1], SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    )
    first, second = (log_odds[np.asarray(truth) == index] for index in (0, 1))
    if not len(first) or not len(second):
        return 0.5

    def lead_of_second(threshold: float) -> float:
        """Falls from 1 to -1, hence has one root."""
        recalls = (expit((threshold - first) / SMOOTHING).mean(), expit((second - threshold) / SMOOTHING).mean())
        return float(recalls[1] - recalls[0])

    low, high = logit(THRESHOLDS)
    if lead_of_second(low) <= 0:
        return THRESHOLDS[0]
    if lead_of_second(high) >= 0:
        return THRESHOLDS[1]
    return float(expit(brentq(lead_of_second, low, high)))


def calibration_bins(probabilities: Probabilities, predicted: Truth, bins: int = BINS) -> NDArray[np.int64]:
    """The bin of each face's confidence, the probability of the label that it was given.

    The bins hold equally many faces (Nguyen and O'Connor, 2015): equally wide ones leave most of a good classifier's
    faces in the last bin, and a few faces, hence noise, in the others. Faces of equal confidence share a bin.

    Returns:
        Shape (n,), from 0 on, of ascending confidence.
    """
    confidence = given_confidence(probabilities, predicted)
    count = max(1, min(bins, len(confidence)))
    if not len(confidence):
        return np.zeros(0, np.int64)
    edges = np.unique(np.quantile(confidence, np.linspace(0, 1, count + 1)[1:-1]))
    # Numbered anew: between two edges there may be no face.
    return np.unique(np.searchsorted(edges, confidence, side="left"), return_inverse=True)[1].astype(np.int64)


def expected_calibration_error(
    probabilities: Probabilities, truth: Truth, bins: int = BINS, predicted: Truth | None = None
) -> float:
    """Mean distance of confidence and accuracy (Naeini et al., 2015), over bins of `calibration_bins`.

    Args:
        probabilities: Shape (n, 2), n at least 1.
        truth: Annotated label index of each face, shape (n,).
        bins: At most so many bins.
        predicted: Label index that each face was given, shape (n,); by default the more probable one.

    Returns:
        0 to 1. Chance alone makes it positive: about 0.4 / sqrt(faces a bin) for a perfect model of accuracy 0.9.
    """
    predicted = np.asarray(probabilities).argmax(axis=1) if predicted is None else predicted
    place = calibration_bins(probabilities, predicted, bins)
    gap = given_confidence(probabilities, predicted) - (predicted == truth)
    return float(np.abs(np.bincount(place, gap)).sum() / len(truth))


def calibration_metrics(
    truth: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    predicted: NDArray[np.integer],
    temperature: float,
    bootstrap: ImageBootstrap,
) -> CalibrationMetrics:
    """Measure calibration before and after the temperature that training fitted on the validation split.

    The network divides its logits by the temperature T; without that it would give `apply_temperature(p, 1 / T)`.

    Args:
        truth: Annotated label index of each face, shape (n,).
        probabilities: As the model gives them, shape (n, 2).
        predicted: Label index that each face was given, shape (n,); the same before and after.
        temperature: That of the model.
        bootstrap: Of the faces' images.
    """
    raw = apply_temperature(probabilities, 1 / temperature)
    return CalibrationMetrics(
        temperature=temperature,
        bins=BINS,
        before=_calibration(truth, raw, predicted, bootstrap),
        after=_calibration(truth, probabilities, predicted, bootstrap),
    )


def _calibration(
    truth: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    predicted: NDArray[np.integer],
    bootstrap: ImageBootstrap,
) -> Calibration:
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

    def estimated(value: float, draws: NDArray[np.float64]) -> Estimate:
        return estimate(value, draws, count, bootstrap.images)

    error = expected_calibration_error(probabilities, truth, predicted=predicted)
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

    Chance makes the error of the faces larger than the model's own, and that of a resample larger again, so the
    percentiles lie too high. The upper one is kept as the safe side; the lower end is mirrored from it, as the basic
    bootstrap does (Davison and Hinkley, 1997, section 5.2).
    """
    if ece.high is None:
        return ece
    return ece.model_copy(update={"low": max(0.0, 2 * ece.defined - ece.high)})
