"""The difference between two distributions: its size, and a two-sample test.

The size decides whether a distribution has drifted. Its measure is the population stability index with the usual limits
(Siddiqi, Credit Risk Scorecards, 2006): below 0.1 the population is stable, from 0.25 on it has changed much. For two
normal distributions of equal width the index is the square of Cohen's d, so the limits are shifts by 0.3 and 0.5
standard deviations.

The test only confirms. With a million faces every difference is significant, so a p-value alone says nothing. With
fifty faces, the index exceeds 0.25 by chance: without any shift, its expectation is (bins - 1) * (1/n + 1/m) (Yurdakul,
2018). Therefore only a significant difference counts.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ml.flow.profile import Histogram
from ml.flow.record import Record

Level = Literal["none", "moderate", "large"]
Test = Literal["chi-square", "Kolmogorov-Smirnov"]
LEVELS: tuple[Level, ...] = ("none", "moderate", "large")
MODERATE_PSI, LARGE_PSI = 0.1, 0.25
SIGNIFICANCE = 0.001  # a run makes about ten tests, and the faces of a photograph are not independent
PARTS = 10  # the bins of a distribution hold a tenth of the reference's values each
PSEUDO_COUNT = 0.5  # added to every bin, because an empty one would make the index infinite


class Shift(Record):
    """The difference of one distribution from the reference's.

    Attributes:
        name: What is compared: an entry of the profile's categories or histograms.
        reference: Number of values in the reference.
        current: Number of values in this run.
        psi: The population stability index; None if either side has no values.
        test: The two-sample test.
        effect: The test's effect size: Cramér's V, or the Kolmogorov-Smirnov distance D.
        p_value: The test's p-value.
        level: How far the distribution has drifted.
        most: The category, or the tenth of the values, whose share has changed most.
        before: Its share in the reference.
        after: Its share in this run.
    """

    name: str
    reference: int
    current: int
    psi: float | None
    test: Test
    effect: float | None
    p_value: float | None
    level: Level
    most: str = ""
    before: float | None = None
    after: float | None = None


def compare_categories(name: str, reference: Mapping[str, int], current: Mapping[str, int]) -> Shift:
    """Compare the shares of categories: stability index, and the chi-square test with Cramér's V."""
    from scipy import stats

    names = [each for each in dict.fromkeys([*reference, *current]) if reference.get(each, 0) + current.get(each, 0)]
    counts = np.array([[side.get(each, 0) for each in names] for side in (reference, current)], dtype=float)
    counts = counts.reshape(2, -1)
    effect, p_value = None, None
    if (counts.sum(axis=1) > 0).all():
        effect, p_value = 0.0, 1.0
        if len(names) > 1:
            found = stats.chi2_contingency(counts, correction=False)
            effect, p_value = float(np.sqrt(found.statistic / counts.sum())), float(found.pvalue)
    return _shift(name, names, counts, "chi-square", effect, p_value)


def compare_histograms(name: str, reference: Histogram, current: Histogram) -> Shift:
    """Compare two distributions: stability index over the reference's tenths, and the Kolmogorov-Smirnov test.

    The distance D of the binned values is at most that of the values themselves.
    """
    from scipy import stats

    counts = np.array([reference.counts, current.counts], dtype=float)
    totals = counts.sum(axis=1)
    cuts = _tenths(counts[0])
    edges = [reference.edges[cut - 1] for cut in cuts]
    names = _ranges(edges)
    grouped = np.add.reduceat(counts, [0, *cuts], axis=1)
    effect, p_value = None, None
    if (totals > 0).all():
        shares = np.cumsum(counts, axis=1) / totals[:, None]
        effect = float(np.abs(shares[0] - shares[1]).max())
        # The asymptotic distribution that `scipy.stats.ks_2samp` uses, which takes the values themselves.
        p_value = float(np.clip(stats.kstwo.sf(effect, round(totals.prod() / totals.sum()) or 1), 0, 1))
    return _shift(name, names, grouped, "Kolmogorov-Smirnov", effect, p_value)


def stability_index(reference: NDArray[np.floating], current: NDArray[np.floating]) -> float:
    """Return the population stability index of two rows of counts over the same bins."""
    before, after = (
        (counts + PSEUDO_COUNT) / (counts.sum() + PSEUDO_COUNT * len(counts)) for counts in (reference, current)
    )
    return float(((after - before) * np.log(after / before)).sum())


def highest(levels: Sequence[Level]) -> Level:
    """Return the highest of some levels."""
    return max(levels, key=LEVELS.index, default="none")


def level_of(size: float, moderate: float, large: float) -> Level:
    """Return the level of a difference of some size."""
    return "large" if size >= large else "moderate" if size >= moderate else "none"


def _shift(
    name: str,
    names: Sequence[str],
    counts: NDArray[np.floating],
    test: Test,
    effect: float | None,
    p_value: float | None,
) -> Shift:
    reference, current = (int(total) for total in counts.sum(axis=1))
    if effect is None or p_value is None:
        return Shift(
            name=name,
            reference=reference,
            current=current,
            psi=None,
            test=test,
            effect=None,
            p_value=None,
            level="none",
        )
    psi = stability_index(counts[0], counts[1])
    shares = counts / counts.sum(axis=1, keepdims=True)
    most = int(np.abs(shares[1] - shares[0]).argmax())
    level: Level = "none"
    if p_value < SIGNIFICANCE:
        level = level_of(psi, MODERATE_PSI, LARGE_PSI)
    return Shift(
        name=name,
        reference=reference,
        current=current,
        psi=psi,
        test=test,
        effect=effect,
        p_value=p_value,
        level=level,
        most=names[most],
        before=float(shares[0, most]),
        after=float(shares[1, most]),
    )


def _tenths(counts: NDArray[np.floating]) -> list[int]:
    """Return where to cut a histogram so that each piece holds about a tenth of its values.

    A value in one bin only is cut off on both sides, so that values elsewhere count.
    """
    total = counts.sum()
    if not total:
        return []
    below = np.cumsum(counts)[:-1] / total  # the share of the values below each inner edge
    wanted = np.arange(1, PARTS) / PARTS
    cuts = {int(np.abs(below - share).argmin()) + 1 for share in wanted}
    cuts = {cut for cut in cuts if 0 < below[cut - 1] < 1}
    if not cuts:
        filled = np.flatnonzero(counts)
        cuts = {int(filled[0]), int(filled[-1]) + 1} & set(range(1, len(counts)))
    return sorted(cuts)


def _ranges(edges: Sequence[float]) -> list[str]:
    """Return the names of the ranges between edges."""
    texts = [f"{edge:.3g}" for edge in edges]
    if not texts:
        return ["all"]
    between = [f"{low} to {high}" for low, high in itertools.pairwise(texts)]
    return [f"below {texts[0]}", *between, f"{texts[-1]} and more"]
