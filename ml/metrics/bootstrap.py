"""Resample images with replacement, because faces of the same image are not independent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ml.metrics.estimate import FEW_IMAGES, Estimate, estimate, ratios, widened

RESAMPLES = 2000
CHUNK = 50  # resamples in memory at once: a few MB even for a hundred thousand images

Mask = NDArray[np.bool_]


class Ranking(NamedTuple):
    """Ranking metrics of the faces, followed by those of each resample: shape (1 + resamples,) each.

    Both are NaN for a resample that lacks one of the labels.

    Attributes:
        auc: Share of pairs in the right order; a tie counts half (Hanley and McNeil, 1982).
        average_precision: Mean precision over the faces of label 1, as in scikit-learn.
    """

    auc: NDArray[np.float64]
    average_precision: NDArray[np.float64]


class ImageBootstrap:
    """Resamples images; every method draws the same resamples.

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
        """Count the images that hold at least one of the faces."""
        return int((np.bincount(self._codes[among], minlength=self.images) > 0).sum())

    def sums(self, columns: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
        """Sum columns of shape (n,) over the faces of each resample: shape (resamples, len(columns))."""
        by_image = np.stack([np.bincount(self._codes, column, self.images) for column in columns], axis=1)
        return np.concatenate([weights @ by_image for weights in self._weights()])

    def shares(self, parts: Sequence[tuple[Mask, Mask]]) -> list[Estimate]:
        """Estimate, for each pair of masks, the share of the second mask's faces that are also in the first.

        An estimate is undefined if the second mask has no faces; its `count` and `images` are those of that mask.
        """
        return self.drawn_shares(parts)[0]

    def drawn_shares(self, parts: Sequence[tuple[Mask, Mask]]) -> tuple[list[Estimate], NDArray[np.float64]]:
        """Return `shares`, and the shares of each resample: shape (resamples, len(parts)), NaN without faces."""
        if not parts:
            return [], np.zeros((self._resamples, 0))
        sums = self.sums([mask for right, among in parts for mask in (right & among, among)])
        draws = ratios(sums[:, ::2], sums[:, 1::2])
        return [self._share(*part, draws[:, number]) for number, part in enumerate(parts)], draws

    def ranking(self, truth: NDArray[np.integer], scores: NDArray[np.floating]) -> Ranking:
        """Measure how well scores rank the faces and the faces of each resample.

        Args:
            truth: 0 or 1, shape (n,); both occur.
            scores: Higher means more likely 1; shape (n,).
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
            # A pair is in order if the miss comes later; within a run of equal scores it counts half.
            ordered = (hits * (all_misses[:, None] - misses_so_far + misses / 2)).sum(axis=1)
            precision = ratios(hits_so_far, hits_so_far + misses_so_far, otherwise=0.0)
            found.append((ratios(ordered, all_hits * all_misses), ratios((hits * precision).sum(axis=1), all_hits)))
        auc, average_precision = (np.concatenate(parts) for parts in zip(*found, strict=True))
        average_precision[np.isnan(auc)] = np.nan
        return Ranking(auc, average_precision)

    def _share(self, right: Mask, among: Mask, draws: NDArray[np.float64]) -> Estimate:
        count, images = int(among.sum()), self.count_images(among)
        if not count:
            return Estimate.undefined(0, 0)
        found = estimate(int((right & among).sum()) / count, draws, count, images)
        if min(self.count_images(right & among), self.count_images(~right & among)) < FEW_IMAGES:
            found = widened(found, images)
        return found

    def _weights(self) -> Iterator[NDArray[np.float64]]:
        """Yield how often each image is drawn: shape (up to CHUNK, images), `resamples` rows in total."""
        random = np.random.default_rng(self._seed)
        for start in range(0, self._resamples, CHUNK):
            rows = min(CHUNK, self._resamples - start)
            drawn = random.integers(0, self.images, (rows, self.images)) + self.images * np.arange(rows)[:, None]
            counts = np.bincount(drawn.reshape(-1), minlength=rows * self.images)
            yield counts.reshape(rows, self.images).astype(np.float64)
