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
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

CONFIDENCE = 0.95
RESAMPLES = 2000
CHUNK = 50  # resamples held at once: some MB even for a hundred thousand images
FEW_IMAGES = 10
METHOD = (
    "95% percentile intervals of 2,000 bootstrap resamples of whole images; shares with fewer than 10 images on one "
    "side reach at least as far as Wilson's score interval with the images as trials"
)

Mask = NDArray[np.bool_]


def proportion(successes: int, count: int) -> dict[str, Any]:
    """A share of independent trials with its 95% interval by the score method (Wilson, 1927).

    Returns:
        `value`, `low`, `high` in [0, 1], None where `count` is 0, and `count`.
    """
    if count == 0:
        return {"value": None, "low": None, "high": None, "count": 0}
    interval = binomtest(successes, count).proportion_ci(CONFIDENCE, method="wilson")
    return {"value": successes / count, "low": float(interval.low), "high": float(interval.high), "count": count}


class ImageBootstrap:
    """Resamples images, the same ones each time that it is asked.

    Args:
        image_ids: The image of each face, shape (n,), n at least 1.
        resamples: Number of resamples.
        seed: Seed of the resampling.

    Attributes:
        images: Number of images.
    """

    def __init__(self, image_ids: Sequence[Any] | NDArray[Any], resamples: int = RESAMPLES, seed: int = 0) -> None:
        names, codes = np.unique(np.asarray(image_ids, dtype=str), return_inverse=True)
        self.images = len(names)
        self._codes: NDArray[np.int64] = codes.reshape(-1)
        self._resamples = resamples
        self._seed = seed

    def count_images(self, among: Mask) -> int:
        """Number of images that hold at least one of the faces."""
        return int((np.bincount(self._codes[among], minlength=self.images) > 0).sum())

    def sums(self, columns: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
        """The sum over the faces of each resample, shape (resamples, len(columns)); columns have shape (n,)."""
        by_image = np.stack([np.bincount(self._codes, column, self.images) for column in columns], axis=1)
        return np.concatenate([weights @ by_image for weights in self._weights()])

    def shares(self, parts: Sequence[tuple[Mask, Mask]]) -> list[dict[str, Any]]:
        """For each pair of masks the share of the second's faces that are also in the first.

        Returns:
            For each pair `value`, `low`, `high`, in [0, 1] or None where there are no faces, `count` (of faces in the
            second mask) and `images` (that hold them).
        """
        return self.drawn_shares(parts)[0]

    def drawn_shares(self, parts: Sequence[tuple[Mask, Mask]]) -> tuple[list[dict[str, Any]], NDArray[np.float64]]:
        """As `shares`, and the shares of each resample: shape (resamples, len(parts)), NaN where it has no faces."""
        if not parts:
            return [], np.zeros((self._resamples, 0))
        sums = self.sums([mask for right, among in parts for mask in (right & among, among)])
        draws = ratios(sums[:, ::2], sums[:, 1::2])
        return [self._share(*part, draws[:, number]) for number, part in enumerate(parts)], draws

    def ranking(self, truth: NDArray[np.integer], scores: NDArray[np.floating]) -> dict[str, NDArray[np.float64]]:
        """The ranking metrics of the faces themselves and, after them, of each resample.

        Args:
            truth: 0 or 1, shape (n,); both occur.
            scores: The higher, the more likely 1; shape (n,).

        Returns:
            Shape (1 + resamples,) each, NaN where a resample lacks one of the labels: `auc`, the share of pairs in the
            right order, ties as half (Hanley and McNeil, 1982); and `average precision` of label 1, the mean precision
            over its faces, as in scikit-learn.
        """
        order = np.argsort(-scores, kind="stable")
        codes, positive, ranked = self._codes[order], truth[order] == 1, scores[order]
        starts = np.flatnonzero(np.concatenate(([True], ranked[1:] != ranked[:-1])))  # of runs of equal scores
        found: list[tuple[NDArray[np.float64], ...]] = []
        for weights in (np.ones((1, self.images)), *self._weights()):
            faces = weights[:, codes]
            hits = np.add.reduceat(faces * positive, starts, axis=1)
            misses = np.add.reduceat(faces * ~positive, starts, axis=1)
            hits_so_far, misses_so_far = hits.cumsum(axis=1), misses.cumsum(axis=1)
            all_hits, all_misses = hits_so_far[:, -1], misses_so_far[:, -1]
            # A pair is in order where the miss comes later; within a run it counts half.
            ordered = (hits * (all_misses[:, None] - misses_so_far + misses / 2)).sum(axis=1)
            precision = ratios(hits_so_far, hits_so_far + misses_so_far, otherwise=0.0)
            found.append((ratios(ordered, all_hits * all_misses), ratios((hits * precision).sum(axis=1), all_hits)))
        auc, average_precision = (np.concatenate(parts) for parts in zip(*found, strict=True))
        average_precision[np.isnan(auc)] = np.nan
        return {"auc": auc, "average precision": average_precision}

    def _share(self, right: Mask, among: Mask, draws: NDArray[np.float64]) -> dict[str, Any]:
        count, images = int(among.sum()), self.count_images(among)
        if not count:
            return {"value": None, "low": None, "high": None, "count": 0, "images": 0}
        found = estimate(int((right & among).sum()) / count, draws, count, images)
        if min(self.count_images(right & among), self.count_images(~right & among)) < FEW_IMAGES:
            found = widened(found, found["value"], images)
        return found

    def _weights(self) -> Iterator[NDArray[np.float64]]:
        """How often each image is drawn: shape (up to CHUNK, images), `resamples` rows together."""
        random = np.random.default_rng(self._seed)
        for start in range(0, self._resamples, CHUNK):
            rows = min(CHUNK, self._resamples - start)
            drawn = random.integers(0, self.images, (rows, self.images)) + self.images * np.arange(rows)[:, None]
            counts = np.bincount(drawn.reshape(-1), minlength=rows * self.images)
            yield counts.reshape(rows, self.images).astype(np.float64)


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
