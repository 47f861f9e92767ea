"""Intervals of 95% for what is measured on faces, of which those of one photograph are not independent.

They are percentile intervals of a bootstrap that resamples whole images (Davison and Hinkley, 1997, section 3.8; Field
and Welsh, 2007): one that resampled faces would be too narrow wherever the faces of an image are right or wrong
together.

A percentile interval has one known fault: where hardly any face is wrong (or right), hardly any resample is, and where
none is it shrinks to a point. A share that rests on fewer than `FEW_IMAGES` images with a right face, or with a wrong
one, therefore reaches at least as far as Wilson's score interval (1927; Brown, Cai and DasGupta, 2001) with the images
as its trials, which is right if all faces of an image go together and wide otherwise.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from ml.flow.record import Record

CONFIDENCE = 0.95
FEW_IMAGES = 10
METHOD = (
    "95% percentile intervals of 2,000 bootstrap resamples of whole images; shares with fewer than 10 images on one "
    "side reach at least as far as Wilson's score interval with the images as trials"
)


class Proportion(Record):
    """A number with its 95% interval and the number of faces it rests on.

    Attributes:
        value: None where the faces do not define it, as the recall of a label that no face has.
        low: Lower end of the interval; None where the value is, or where nothing can be resampled.
        high: Upper end, likewise.
        count: Faces that the number rests on.
    """

    value: float | None
    low: float | None
    high: float | None
    count: int

    @property
    def defined(self) -> float:
        """The value, where the caller knows that the faces define it.

        Raises:
            ValueError: They do not.
        """
        if self.value is None:
            raise ValueError("the faces do not define this number")
        return self.value

    @property
    def ends(self) -> tuple[float, float]:
        """The ends of the interval; the value itself where it has none."""
        value = self.defined
        return value if self.low is None else self.low, value if self.high is None else self.high


class Estimate(Proportion):
    """A number whose interval is clustered by image.

    Attributes:
        images: Images that the faces lie on.
    """

    images: int

    @classmethod
    def undefined(cls, count: int, images: int) -> Estimate:
        """Return the estimate of what the faces do not define."""
        return Estimate(value=None, low=None, high=None, count=count, images=images)


class Bounded(Estimate):
    """An estimate that always has its value and its interval: what lacks them is refused when it is made."""

    value: float
    low: float
    high: float


def proportion(successes: int, count: int) -> Proportion:
    """Return a share of independent trials with its 95% interval by the score method (Wilson, 1927)."""
    if count == 0:
        return Proportion(value=None, low=None, high=None, count=0)
    interval = binomtest(successes, count).proportion_ci(CONFIDENCE, method="wilson")
    return Proportion(value=successes / count, low=float(interval.low), high=float(interval.high), count=count)


def ratios(
    numerators: NDArray[np.floating], denominators: NDArray[np.floating], otherwise: float = math.nan
) -> NDArray[np.float64]:
    """Divide element by element, with a value of its own where the denominator is 0."""
    filled = np.full(np.shape(denominators), otherwise)
    np.divide(numerators, denominators, out=filled, where=np.asarray(denominators) != 0)
    return filled


def estimate(value: float, draws: NDArray[np.floating], count: int, images: int) -> Estimate:
    """Return a number with its percentile interval, which is made to hold the number itself.

    A resample that leaves the number undefined (NaN), such as the recall of a label that it does not hold, says
    nothing about it and is left out.

    Args:
        value: Of the faces themselves.
        draws: Of the resamples.
        count: Faces that the number rests on.
        images: Images that these lie on; of one image alone nothing can be resampled, so `low` and `high` are None.
    """
    defined = draws[~np.isnan(draws)]
    if images < 2 or not len(defined):
        return Estimate(value=float(value), low=None, high=None, count=count, images=images)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(defined, (tail, 1 - tail))
    return Estimate(
        value=float(value), low=float(min(low, value)), high=float(max(high, value)), count=count, images=images
    )


def widened(found: Estimate, trials: int) -> Estimate:
    """Extend the interval of a share at least as far as Wilson's for that share of so many trials."""
    share = found.defined
    low, high = proportion(round(share * trials), trials).ends
    return found.model_copy(update={"low": min(found.ends[0], low), "high": max(found.ends[1], high)})


def difference(one: Estimate, other: Estimate, draws: NDArray[np.floating]) -> Estimate:
    """Return the difference of two shares that `ImageBootstrap.shares` gave, with an interval.

    It is the percentile interval of the draws, and reaches at least as far as the shares' own intervals ask for by
    the square-and-add rule (Newcombe, 1998), which knows what the draws do not: that these may have been widened.

    Args:
        one: A share.
        other: The share to subtract.
        draws: The difference in each resample.

    Returns:
        `count` and `images` are those of the smaller one. Undefined where one of the two is.
    """
    count, images = min(one.count, other.count), min(one.images, other.images)
    if one.value is None or other.value is None:
        return Estimate.undefined(count, images)
    value = one.value - other.value
    found = estimate(value, draws, count, images)
    below = math.hypot(one.value - one.ends[0], other.ends[1] - other.value)
    above = math.hypot(one.ends[1] - one.value, other.value - other.ends[0])
    low, high = min(found.ends[0], value - below), max(found.ends[1], value + above)
    return found.model_copy(update={"low": max(-1.0, low), "high": min(1.0, high)})
