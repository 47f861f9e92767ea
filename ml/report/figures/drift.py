"""The figures of drift: the data of a run beside those of the reference, as SVG files."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import StrMethodFormatter

from ml.flow.profile import DataProfile, Histogram
from ml.report.drift import title_of
from ml.report.figures.base import BLUE, DARK, GRAY, ORANGE, new_figure, plain_axes, to_svg

FEW = 5000  # values; a histogram of fewer is drawn with wider bins, which vary less
WIDER = 2
SHOWN = 8  # categories of a panel, the most frequent first
LOGARITHMIC = ("face_px",)
Side = tuple[str, str, DataProfile]  # its name, its color, and its profile


def draw_drift(reference: DataProfile, current: DataProfile, added: DataProfile | None = None) -> dict[str, bytes]:
    """Draw the distributions and the shares that both profiles hold, by the figure's name.

    Args:
        reference: The profile of the earlier run.
        current: The profile of this run.
        added: The profile of what this run has in addition, if it can be told apart.
    """
    sides: list[Side] = [("reference", GRAY, reference), ("this run", BLUE, current)]
    if added:
        sides.append(("added", ORANGE, added))
    figures = {}
    columns = [name for name in current.histograms if all(_has(side, name) for *_, side in sides)]
    if columns:
        figures["drift_distributions"] = _distributions(columns, sides)
    categories = [name for name in current.categories if all(side.categories.get(name) for *_, side in sides)]
    if categories:
        figures["drift_shares"] = _shares(categories, sides)
    return figures


def _has(profile: DataProfile, column: str) -> bool:
    return column in profile.histograms and sum(profile.histograms[column].counts) > 0


def _distributions(columns: list[str], sides: list[Side]) -> bytes:
    figure = new_figure(0.7 + 2.6 * len(columns))
    for column, axes in zip(columns, np.atleast_1d(figure.subplots(len(columns), 1)), strict=True):
        found = [side.histograms[column] for *_, side in sides]
        used = np.flatnonzero(np.sum([each.counts for each in found], axis=0))
        width = WIDER if min(sum(each.counts) for each in found) < FEW else 1
        for (name, color, _), histogram in zip(sides, found, strict=True):
            edges, shares = _steps(histogram, int(used[0]), int(used[-1]), width)
            filled = name == "reference"
            axes.stairs(shares, edges, fill=filled, color=color, alpha=0.55 if filled else 1, linewidth=1.8, label=name)
        if column in LOGARITHMIC:
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        plain_axes(axes)
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:.0%}"))
        axes.set_ylabel("share of the chips")
        axes.set_title(_heading(column), loc="left", fontsize=11)
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower right", ncols=len(sides), frameon=False)
    return to_svg(figure)


def _steps(histogram: Histogram, first: int, last: int, width: int) -> tuple[list[float], list[float]]:
    """Return edges and shares of the bins from the first to the last, joined by so many; outer bins get a width."""
    low, high = histogram.edges[0], histogram.edges[-1]
    edges = [low - (histogram.edges[1] - low), *histogram.edges, high + (high - histogram.edges[-2])]
    starts = np.arange(first, last + 1, width)
    shares = np.add.reduceat(histogram.counts[: last + 1], starts) / sum(histogram.counts)
    return [*(edges[start] for start in starts), edges[last + 1]], shares.tolist()


def _shares(categories: list[str], sides: list[Side]) -> bytes:
    rows = {name: _most_frequent([side.categories[name] for *_, side in sides]) for name in categories}
    heights = [len(names) + 1.2 for names in rows.values()]
    figure = new_figure(0.7 + 0.42 * sum(heights))
    panels = np.atleast_1d(figure.subplots(len(rows), 1, height_ratios=heights))
    for (category, names), axes in zip(rows.items(), panels, strict=True):
        _bars(axes, category, names, sides)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=len(sides), frameon=False)
    return to_svg(figure)


def _bars(axes: Axes, category: str, names: list[str], sides: list[Side]) -> None:
    height = 0.8 / len(sides)
    for number, (side, color, profile) in enumerate(sides):
        counts = profile.categories[category]
        total = sum(counts.values())
        shares = [counts.get(name, 0) / total for name in names]
        places = np.arange(len(names)) + (number - (len(sides) - 1) / 2) * height
        bars = axes.barh(places, shares, height=height * 0.92, color=color, label=side)
        axes.bar_label(bars, labels=[f"{share:.1%}" for share in shares], padding=3, fontsize=8, color=DARK)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    plain_axes(axes)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:.0%}"))
    axes.set_title(_heading(category), loc="left", fontsize=11)


def _heading(name: str) -> str:
    title = title_of(name)
    return title[0].upper() + title[1:]


def _most_frequent(sides: list[dict[str, int]]) -> list[str]:
    """Return the categories with the highest share on any side."""
    shares: dict[str, float] = {}
    for counts in sides:
        for name, count in counts.items():
            shares[name] = max(shares.get(name, 0.0), count / sum(counts.values()))
    return sorted((name for name, share in shares.items() if share), key=lambda name: -shares[name])[:SHOWN]
