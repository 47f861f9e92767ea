"""95% intervals for metrics of faces, where the faces of one photograph are not independent.

The intervals are percentile intervals of a bootstrap that resamples whole images (Davison and Hinkley, 1997, section
3.8; Field and Welsh, 2007). Resampling faces would make them too narrow wherever the faces of an image are right or
wrong together.

Percentile intervals have one known fault: if few faces are wrong (or right), few resamples contain one, and if none
are, the interval shrinks to a point. A share based on fewer than `FEW_IMAGES` images with a right face, or with a wrong
face, is therefore widened to at least Wilson's score interval (1927; Brown, Cai and DasGupta, 2001) with the images as
trials. That interval is correct if all faces of an image are right or wrong together, and too wide otherwise.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

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
        value: The number; None if the faces do not define it, such as the recall of a label without faces.
        low: Lower end of the interval; None if the value is None, or if there is too little to resample.
        high: Upper end of the interval; None in the same cases.
        count: Number of faces that the number is based on.
    """

    value: float | None
    low: float | None
    high: float | None
    count: int

    @property
    def defined(self) -> float:
        """The value, for a caller who knows that the faces define it.

        Raises:
            ValueError: The faces do not define it.
        """
        if self.value is None:
            raise ValueError("the faces do not define this number")
        return self.value

    @property
    def ends(self) -> tuple[float, float]:
        """The ends of the interval; the value itself if there is no interval."""
        value = self.defined
        return value if self.low is None else self.low, value if self.high is None else self.high


class Estimate(Proportion):
    """A number whose interval is clustered by image.

    Attributes:
        images: Number of images that the faces are on.
    """

    images: int

    @classmethod
    def undefined(cls, count: int, images: int) -> Estimate:
        """Return an estimate without value and interval."""
        return Estimate(value=None, low=None, high=None, count=count, images=images)


class Bounded(Estimate):
    """An estimate that always has a value and an interval; validation rejects one without them."""

    value: float
    low: float
    high: float


def proportion(successes: int, count: int) -> Proportion:
    """Return a share of independent trials with its 95% interval by the score method (Wilson, 1927)."""
    if count == 0:
        return Proportion(value=None, low=None, high=None, count=0)
    from scipy.stats import binomtest

    interval = binomtest(successes, count).proportion_ci(CONFIDENCE, method="wilson")
    return Proportion(value=successes / count, low=float(interval.low), high=float(interval.high), count=count)


def ratios(
    numerators: NDArray[np.floating], denominators: NDArray[np.floating], otherwise: float = math.nan
) -> NDArray[np.float64]:
    """Divide element by element, with the value `otherwise` where the denominator is 0."""
    filled = np.full(np.shape(denominators), otherwise)
    np.divide(numerators, denominators, out=filled, where=np.asarray(denominators) != 0)
    return filled


def estimate(value: float, draws: NDArray[np.floating], count: int, images: int) -> Estimate:
    """Return a number with its percentile interval, extended to contain the number itself.

    Resamples that leave the number undefined (NaN), such as the recall of a label that they do not contain, are left
    out.

    Args:
        value: The number measured on the faces.
        draws: The number measured on each resample.
        count: Number of faces that the number is based on.
        images: Number of images that the faces are on; one image cannot be resampled, so `low` and `high` are None.
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
    """Extend a share's interval to at least Wilson's interval for that share of `trials` trials."""
    share = found.defined
    low, high = proportion(round(share * trials), trials).ends
    return found.model_copy(update={"low": min(found.ends[0], low), "high": max(found.ends[1], high)})


def difference(one: Estimate, other: Estimate, draws: NDArray[np.floating]) -> Estimate:
    """Return the difference of two shares from `ImageBootstrap.shares`, with an interval.

    The interval is the percentile interval of the draws, extended to at least the square-and-add interval (Newcombe,
    1998) of the two shares. The draws do not reflect that the shares' intervals may have been widened; that rule does.

    Args:
        one: A share.
        other: The share to subtract.
        draws: The difference in each resample.

    Returns:
        `count` and `images` are the smaller of both shares'. Undefined if either share is.
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
