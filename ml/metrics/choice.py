"""Choose temperature and threshold on the validation split so that a small split does no harm.

Both are fitted to the validation faces, and on few faces a fit follows chance. The network therefore keeps a
temperature of 1, and on a small split a threshold of 0.5, unless the fitted value is better by more than noise. Faces
of one photograph are alike, so photographs count, not faces.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from ml.metrics.calibration import (
    Probabilities,
    Truth,
    apply_temperature,
    choose_threshold,
    face_log_losses,
    fit_temperature,
)
from ml.metrics.decision import decide

PLAIN_TEMPERATURE, PLAIN_THRESHOLD = 1.0, 0.5
FOLDS = 5
CERTAINTY = 0.95
NORMAL = 1.96  # standard errors of a two-sided 95% interval
# Photographs of each label from which the fitted threshold is used in any case: from 200, it brings the recalls of new
# faces closer together than waiting for evidence does, or as close. With 75, that depends on the network
# (`benchmarks/README.md`).
ENOUGH = 200


@dataclass(frozen=True)
class Choice:
    """A value fitted on the validation split, and whether it is used.

    Attributes:
        fitted: The fitted value.
        chosen: The value to use: the fitted one if `gain` is more than `noise`, otherwise the plain one. A threshold is
            the fitted one in any case if the split is not small.
        gain: How much the fitted value is needed or helps; see the function that made the choice.
        noise: How large `gain` may be by chance.
    """

    fitted: float
    chosen: float
    gain: float = 0.0
    noise: float = 0.0


def choose_temperature(probabilities: Probabilities, truth: Truth, images: NDArray[np.generic]) -> Choice:
    """Fit the temperature, and keep 1 unless the fit lowers the log loss of photographs that it has not seen.

    The gain is cross-fitted: the photographs are dealt into `FOLDS` folds, and the faces of each are scored with the
    temperature fitted on the others. Gains are paired by face, and their standard error is that of a mean over
    clusters, the photographs (Liang and Zeger, 1986, 'Longitudinal data analysis using generalized linear models').
    The fit is used if the one-sided 95% bound of Student's t is above zero.

    Args:
        probabilities: Probabilities of the network as trained, shape (n, 2), n at least 1.
        truth: Annotated label index of each face, shape (n,).
        images: The photograph of each face, shape (n,).

    Returns:
        The choice; its gain and noise are in nats per face.
    """
    fitted = fit_temperature(probabilities, truth)
    _, photograph = np.unique(images, return_inverse=True)
    count = int(photograph.max()) + 1
    if fitted == PLAIN_TEMPERATURE or count < 2:
        return Choice(fitted, PLAIN_TEMPERATURE)
    plain, held_out = face_log_losses(apply_temperature(probabilities, 1.0), truth), np.empty(len(truth))
    fold = photograph % min(FOLDS, count)
    for number in range(int(fold.max()) + 1):
        inside = fold == number
        temperature = fit_temperature(probabilities[~inside], truth[~inside])
        held_out[inside] = face_log_losses(apply_temperature(probabilities[inside], temperature), truth[inside])
    gains = plain - held_out
    gain = float(gains.mean())
    sums = np.bincount(photograph, gains - gain)
    error = float(np.sqrt(count / (count - 1) * np.square(sums).sum())) / len(truth)
    noise = float(stdtrit(count - 1, CERTAINTY)) * error
    return Choice(fitted, fitted if gain > noise else PLAIN_TEMPERATURE, gain, noise)


def choose_cut(probabilities: Probabilities, truth: Truth, images: NDArray[np.generic]) -> Choice:
    """Fit the decision threshold, and on a small split keep 0.5 unless the recalls differ there by more than noise.

    A split is small if a label has fewer than `ENOUGH` photographs.

    The fitted threshold makes the recalls equal. The interval of their difference at 0.5 is that of Agresti and Caffo
    (2000, 'Simple and effective confidence intervals for proportions and differences of proportions'), which adds a
    success and a failure to each side and so holds for a handful of faces and for recalls of 0 and 1. Each photograph
    counts once, as if all of its faces were one, which errs toward 0.5.

    Args:
        probabilities: Calibrated probabilities, shape (n, 2).
        truth: Annotated label index of each face, shape (n,).
        images: The photograph of each face, shape (n,).

    Returns:
        The choice; gain and noise are the difference of the recalls at 0.5 and the half width of its interval.
    """
    fitted = choose_threshold(probabilities, truth)
    right = decide(probabilities, PLAIN_THRESHOLD) == truth
    recalls, variance, small = [], 0.0, False
    for label in (0, 1):
        of_label = truth == label
        if not of_label.any():
            return Choice(fitted, PLAIN_THRESHOLD)
        photographs = len(np.unique(images[of_label]))
        small |= photographs < ENOUGH
        count = photographs + 2
        recall = (float(right[of_label].mean()) * photographs + 1) / count
        recalls.append(recall)
        variance += recall * (1 - recall) / count
    gain, noise = abs(recalls[1] - recalls[0]), NORMAL * float(np.sqrt(variance))
    return Choice(fitted, PLAIN_THRESHOLD if small and gain <= noise else fitted, gain, noise)
