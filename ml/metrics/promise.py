"""Risk control: turn a tolerated error rate into the confidence that a face needs to get a label.

A promise is that, among the faces that get a label, at most a stated share is wrong (selective risk; Geifman and
El-Yaniv, 2017). The validation split gives the smallest threshold that holds it with 95% confidence: Learn then Test
(Angelopoulos, Bates, Candès, Jordan and Lei, 2021, arXiv:2110.01052) with fixed-sequence testing. Thresholds of a grid
that was chosen in advance are tested from the highest down, each at the full level, until one fails; the last that
passed is used. The first one tested answers at least `START_SHARE` of the faces, however many of them are wrong.

The test. For a fixed threshold, errors among n answered faces are binomial given n. The p-value is that of Fisher's
exact test (1935) against as many new answers with one more error than tolerated. It rejects only where the exact
binomial test does, so the error rate of the population is held at least as surely, and it also allows for chance among
the new faces: what users see is the share of wrong labels in one folder of photographs, not a population's.

Faces of one photograph are not independent. n is therefore Kish's (1965) effective number of photographs, the squared
number of answered faces over the sum of squares of their numbers by photograph. That is exact if all faces of a
photograph are right or wrong together, and errs on the safe side otherwise.

What is assumed. New faces come from the same source as the validation faces. The epoch, the temperature and the
decision threshold were chosen on the same faces; two numbers and an epoch fitted to over a thousand faces shift the
errors by less than the margin of Fisher's test, which `benchmarks/promise.py` measures by choosing the two numbers
again in every deal.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ml.errors import ConfigurationError
from ml.flow.record import Record
from ml.metrics.bootstrap import ImageBootstrap
from ml.metrics.decision import decide, given_confidence, is_sure
from ml.metrics.estimate import CONFIDENCE, Estimate

# In log-odds, from one error in ten million to a coin toss. Coarse, because with every look near the limit chance has
# another try: steps of 0.05 answered 2 to 5% more faces and broke promises on new faces twice as often.
GRID = 1 / (1 + np.exp(-np.arange(16.0, -0.125, -0.25)))
START_SHARE = 0.25  # of the validation faces: with fewer, one doubtful label would often stop the search at once
RISKS = (0.01, 0.02, 0.05, 0.1)  # that the report checks besides the run's own
RISK_STEP = 0.001
LARGEST_RISK = 0.5
ROUNDING = 1e-9
ROWS = ("thresholds", "answered", "wrong", "photographs")


class RiskTable(Record):
    """How many validation faces are answered and how many of the answers are wrong, by the confidence required.

    The rows are lists of equal length, in order of falling threshold and rising number of answers. They hold all that
    is needed to promise any risk.

    Attributes:
        faces: Number of validation faces.
        thresholds: The confidence that a face needs to get a label, 0 to 1; 0 answers every face.
        answered: Number of faces that get a label.
        wrong: Number of these whose label is not the annotated one.
        photographs: Effective number of photographs that the answered faces amount to.
    """

    faces: int
    thresholds: list[float]
    answered: list[int]
    wrong: list[int]
    photographs: list[float]


class Promise(Record):
    """A threshold that holds a stated risk with 95% confidence, and the validation faces that show it.

    Attributes:
        max_risk: The stated risk: the largest share of wrong labels among the faces that get one.
        min_confidence: The confidence that a face needs to get a label.
        confidence: How surely the promise is held.
        faces: Number of validation faces.
        answered: Number of these that get a label.
        wrong: Number of these whose label is not the annotated one.
    """

    max_risk: float
    min_confidence: float
    confidence: float = CONFIDENCE
    faces: int
    answered: int
    wrong: int

    @property
    def coverage(self) -> float:
        """Share of the validation faces that get a label."""
        return self.answered / self.faces

    @property
    def risk(self) -> float:
        """Share of wrong labels among them; the promise leaves a margin above it."""
        return self.wrong / self.answered

    @property
    def sentence(self) -> str:
        """The promise and what it rests on, in words."""
        return (
            f"With {self.confidence:.0%} confidence, at most {100 * self.max_risk:.3g}% of the labels are wrong on "
            f"photographs like those of training: only faces with a confidence of at least {self.min_confidence:.3g} "
            f"get one. Of {self.faces:,} validation faces, {self.coverage:.1%} do, and {self.risk:.1%} of their labels "
            "are wrong."
        )


class CheckedPromise(Record):
    """A stated risk, the promise made of it on the validation split, and what became of it on the test split.

    Attributes:
        max_risk: The stated risk.
        promise: The promise; None if no threshold can hold it.
        coverage: Share of the test faces that get a label; None without a promise.
        risk: Share of wrong labels among these; None without a promise.
    """

    max_risk: float
    promise: Promise | None
    coverage: Estimate | None = None
    risk: Estimate | None = None

    @property
    def held(self) -> bool:
        """Whether the test split's risk is at most the stated one; also true if no test face gets a label."""
        return self.risk is None or self.risk.value is None or self.risk.value <= self.max_risk


class PromiseMetrics(Record):
    """Promises of a model, checked on the test split.

    Attributes:
        stated: The run's own `max_risk`; None if `min_confidence` decides.
        smallest: The smallest risk that the model can promise; None if it can promise none.
        checked: The promises, by rising risk: those of `RISKS` and the run's own.
    """

    stated: float | None
    smallest: float | None
    checked: list[CheckedPromise]

    @property
    def own(self) -> CheckedPromise | None:
        """The promise of the run's own `max_risk`; None without one."""
        return next((each for each in self.checked if each.max_risk == self.stated), None)


def risk_table(
    probabilities: NDArray[np.floating],
    truth: NDArray[np.integer],
    threshold: float,
    images: NDArray[np.generic],
) -> RiskTable:
    """Count answers and errors on the validation split for every threshold of the grid that is tested.

    Thresholds that answer the same faces as a higher one are left out: no face shows what happens between them.

    Args:
        probabilities: Calibrated probabilities of the validation faces, shape (n, 2).
        truth: Annotated label index of each face, shape (n,).
        threshold: The decision threshold.
        images: The photograph of each face, shape (n,).
    """
    predicted = decide(probabilities, threshold)
    confidence, wrong = given_confidence(probabilities, predicted), predicted != truth
    photograph = np.unique(images, return_inverse=True)[1].reshape(-1)
    rows: list[tuple[float, int, int, float]] = []
    for limit in (*GRID.tolist(), 0.0):
        answered = is_sure(confidence, limit)
        count = int(answered.sum())
        if count >= max(1, START_SHARE * len(truth)) and (not rows or count > rows[-1][1]):
            squares = np.square(np.bincount(photograph[answered])).sum()
            rows.append((limit, count, int((wrong & answered).sum()), count**2 / float(squares)))
    thresholds, counts, errors, effective = (list(column) for column in zip(*rows, strict=True)) if rows else [[]] * 4
    return RiskTable(faces=len(truth), thresholds=thresholds, answered=counts, wrong=errors, photographs=effective)


def p_values(table: RiskTable, max_risk: float) -> NDArray[np.float64]:
    """Return for each row the p-value of the hypothesis that the risk is above `max_risk`; see the module's text."""
    from scipy.stats import hypergeom

    answered, wrong = np.asarray(table.answered, np.float64), np.asarray(table.wrong, np.float64)
    trials = np.floor(np.asarray(table.photographs, np.float64) + ROUNDING)
    errors = np.ceil(wrong * trials / answered - ROUNDING)
    too_many = np.floor(max_risk * trials + ROUNDING) + 1  # the smallest number of errors that breaks the promise
    values: NDArray[np.float64] = hypergeom.cdf(errors, 2 * trials, np.minimum(errors + too_many, 2 * trials), trials)
    return values


def make_promise(table: RiskTable, max_risk: float) -> Promise | None:
    """Return the smallest threshold that holds a risk with 95% confidence; None if no threshold does.

    A smaller risk never answers more faces: every p-value falls as the stated risk rises.

    Args:
        table: The model's table.
        max_risk: The stated risk, more than 0 and at most `LARGEST_RISK`.
    """
    if not table.thresholds:
        return None
    failed = np.flatnonzero(p_values(table, max_risk) > 1 - CONFIDENCE)
    row = int(failed[0]) - 1 if len(failed) else len(table.thresholds) - 1
    if row < 0:
        return None
    return Promise(
        max_risk=max_risk,
        min_confidence=table.thresholds[row],
        faces=table.faces,
        answered=table.answered[row],
        wrong=table.wrong[row],
    )


def require_promise(table: RiskTable | None, max_risk: float) -> Promise:
    """Return the promise of a model for a stated risk.

    Args:
        table: The model's table; None if it was trained by a version that did not make one.
        max_risk: The stated risk.

    Raises:
        ConfigurationError: The model has no table, or no threshold can hold the risk.
    """
    if table is None:
        raise ConfigurationError(
            f"max_risk = {max_risk:g}: the model was trained before models recorded what a promise needs.",
            "Train it again, or leave max_risk empty and set min_confidence.",
        )
    if promise := make_promise(table, max_risk):
        return promise
    smallest = smallest_risk(table)
    can = (
        f"The smallest error rate that it can promise is {smallest:g}: state that or more, or train on more faces."
        if smallest
        else "It can promise no error rate: its validation split is too small or too often wrong."
    )
    raise ConfigurationError(
        f"max_risk = {max_risk:g}: on the model's {table.faces:,} validation faces, no threshold holds this error rate "
        "with 95% confidence.",
        f"{can} Or leave max_risk empty and set min_confidence.",
    )


def smallest_risk(table: RiskTable) -> float | None:
    """Return the smallest risk that can be promised, in steps of `RISK_STEP`; None if it is above `LARGEST_RISK`."""
    first = table.model_copy(update={name: getattr(table, name)[:1] for name in ROWS})  # which decides alone
    if make_promise(first, LARGEST_RISK) is None:
        return None
    low, high = 0, round(LARGEST_RISK / RISK_STEP)  # the largest that is known to fail, the smallest known to hold
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if make_promise(first, middle * RISK_STEP) else (middle, high)
    return round(high * RISK_STEP, 3)


def promise_metrics(
    table: RiskTable,
    max_risk: float | None,
    truth: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    predicted: NDArray[np.integer],
    bootstrap: ImageBootstrap,
) -> PromiseMetrics:
    """Check promises on the test split.

    Args:
        table: The model's table, made on the validation split.
        max_risk: The run's own stated risk; None without one.
        truth: Annotated label index of each test face, shape (n,).
        probabilities: The model's probabilities, shape (n, 2).
        predicted: Predicted label index of each face, shape (n,).
        bootstrap: Resamples the faces' images.
    """
    risks = sorted({*RISKS, *([] if max_risk is None else [max_risk])})
    confidence = given_confidence(probabilities, predicted)
    checked = [_checked(table, risk, predicted != truth, confidence, bootstrap) for risk in risks]
    return PromiseMetrics(stated=max_risk, smallest=smallest_risk(table), checked=checked)


def _checked(
    table: RiskTable,
    max_risk: float,
    wrong: NDArray[np.bool_],
    confidence: NDArray[np.float64],
    bootstrap: ImageBootstrap,
) -> CheckedPromise:
    promise = make_promise(table, max_risk)
    if promise is None:
        return CheckedPromise(max_risk=max_risk, promise=None)
    answered = is_sure(confidence, promise.min_confidence)
    parts: Sequence[tuple[NDArray[np.bool_], NDArray[np.bool_]]] = [
        (answered, np.ones(len(wrong), bool)),
        (wrong, answered),
    ]
    coverage, risk = bootstrap.shares(parts)
    return CheckedPromise(max_risk=max_risk, promise=promise, coverage=coverage, risk=risk)
