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
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

CONFIDENCE = 0.95
FEW_IMAGES = 10
METHOD = (
    "95% percentile intervals of 2,000 bootstrap resamples of whole images; shares with fewer than 10 images on one "
    "side reach at least as far as Wilson's score interval with the images as trials"
)


def proportion(successes: int, count: int) -> dict[str, Any]:
    """A share of independent trials with its 95% interval by the score method (Wilson, 1927).

    Returns:
        `value`, `low`, `high` in [0, 1], None where `count` is 0, and `count`.
    """
    if count == 0:
        return {"value": None, "low": None, "high": None, "count": 0}
    interval = binomtest(successes, count).proportion_ci(CONFIDENCE, method="wilson")
    return {"value": successes / count, "low": float(interval.low), "high": float(interval.high), "count": count}


def ratios(
    numerators: NDArray[np.floating], denominators: NDArray[np.floating], otherwise: float = math.nan
) -> NDArray[np.float64]:
    """Element-wise quotient, with a value of its own where the denominator is 0."""
    filled = np.full(np.shape(denominators), otherwise)
    return np.divide(numerators, denominators, out=filled, where=np.asarray(denominators) != 0)


def estimate(value: float, draws: NDArray[np.floating], count: int, images: int) -> dict[str, Any]:
    """A number with its percentile interval, which is made to hold the number itself.

    A resample that leaves the number undefined (NaN), such as the recall of a label that it does not hold, tells
    nothing of it and is left out.

    Args:
        value: Of the faces themselves.
        draws: Of the resamples.
        count: Faces that the number rests on.
        images: Images that these lie on; of one image alone nothing can be resampled, so `low` and `high` are None.
    """
    defined = draws[~np.isnan(draws)]
    if images < 2 or not len(defined):
        return {"value": float(value), "low": None, "high": None, "count": count, "images": images}
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(defined, (tail, 1 - tail))
    return {
        "value": float(value),
        "low": float(min(low, value)),
        "high": float(max(high, value)),
        "count": count,
        "images": images,
    }


def widened(found: dict[str, Any], share: float, trials: int) -> dict[str, Any]:
    """An interval in [0, 1] that reaches at least as far as Wilson's for that share of so many trials."""
    wilson = proportion(round(share * trials), trials)
    bounds = [bound for bound in (found["low"], found["high"], wilson["low"], wilson["high"]) if bound is not None]
    return {**found, "low": min(*bounds, share), "high": max(*bounds, share)}


def difference(one: dict[str, Any], other: dict[str, Any], draws: NDArray[np.floating]) -> dict[str, Any]:
    """The difference of two shares that `ImageBootstrap.shares` gave, with an interval.

    It is the percentile interval of the draws, and reaches at least as far as the shares' own intervals ask for by
    the square-and-add rule (Newcombe, 1998), which knows what the draws do not: that these may have been widened.

    Args:
        one: A share.
        other: The share to subtract.
        draws: The difference in each resample.

    Returns:
        As the shares; `count` and `images` are those of the smaller one. All None where one of the two is undefined.
    """
    count, images = min(one["count"], other["count"]), min(one["images"], other["images"])
    if one["value"] is None or other["value"] is None:
        return {"value": None, "low": None, "high": None, "count": count, "images": images}
    value = one["value"] - other["value"]
    found = estimate(value, draws, count, images)
    below = math.hypot(one["value"] - one["low"], other["high"] - other["value"])
    above = math.hypot(one["high"] - one["value"], other["value"] - other["low"])
    bounds = [bound for bound in (found["low"], found["high"], value - below, value + above) if bound is not None]
    return {**found, "low": max(-1.0, min(bounds)), "high": min(1.0, max(bounds))}
