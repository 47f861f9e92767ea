"""The figures of stage explore, as SVG files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ml.config.training import FACE
from ml.flow.exploration import Balance
from ml.report.figures.base import BLUE, DARK, GRAY, ORANGE, finish, new_figure, paired_bars, plain_axes, to_svg
from ml.report.subject import Subject

MANY_FACES = 10
TICKS = 16


def top_classes(rows: Sequence[tuple[str, int, int]]) -> bytes:
    """Draw the ten classes verified on most images.

    Args:
        rows: Class name, images verified to hold it, images verified not to hold it; in any order, any number.
    """
    shown = sorted(rows, key=lambda row: (-row[1], row[0]))[:10]
    figure = new_figure(1.6 + 0.5 * max(len(shown), 2))
    axes = figure.subplots()
    paired_bars(axes, shown, "verified present", "verified absent")
    axes.set_title(f"The {len(shown)} classes verified on most images", loc="left")
    axes.set_xlabel("images")
    return to_svg(figure)


def verified_images(rows: Sequence[tuple[str, int, int]], subject: Subject) -> bytes:
    """Draw the number of images by label and verification.

    Args:
        rows: Label; images on which every verified label is positive (the notebook's 'good'); images on which a label
            is verified absent (its 'bad').
        subject: What the labels are about.
    """
    figure = new_figure(2.0 + 0.6 * max(len(rows), 2))
    axes = figure.subplots()
    paired_bars(axes, rows, "all labels verified present", "a label verified absent")
    axes.set_title(f"Images by label ({subject.title}) and verification", loc="left")
    axes.set_xlabel("images")
    return to_svg(figure)


def faces_per_image(counts: Mapping[int, int], chip_class: str = FACE) -> bytes:
    """Draw the number of images by their number of face boxes; ten and more share one bar.

    Args:
        counts: Number of images by the number of faces on them.
        chip_class: The class whose boxes were counted.
    """
    last = min(max(counts, default=1), MANY_FACES)
    numbers = range(min(counts, default=1) and 1, last + 1)  # images without faces have a bar only if counted
    heights = [sum(n for faces, n in counts.items() if min(faces, MANY_FACES) == number) for number in numbers]
    names = [f"{number} or more" if number == MANY_FACES else str(number) for number in numbers]
    figure = new_figure(4.5)
    axes = figure.subplots()
    bars = axes.bar(names, heights, color=BLUE)
    axes.margins(y=0.08)
    axes.bar_label(bars, labels=[f"{height:,}" for height in heights], fontsize=9, color=DARK, padding=2)
    finish(axes, "y")
    axes.set_title(f"{chip_class}: boxes per image", loc="left")
    axes.set_xlabel("boxes on the image")
    axes.set_ylabel("images")
    return to_svg(figure)


def face_sizes(edges: Sequence[float], counts: Sequence[int], chip_class: str = FACE) -> bytes:
    """Draw a histogram of the faces' longer side: each bin as wide as what it spans, its area the number of faces.

    The axis is logarithmic, because most faces are small: a bin's width is a number of doublings of the side.

    Args:
        edges: Limits of the bins in percent of the photograph's side, ascending, one more than `counts`; the first may
            be 0, whose bin is drawn as half as wide as the next limit.
        counts: Number of faces in each bin.
        chip_class: The class whose boxes were counted.

    Raises:
        ValueError: The lengths of `edges` and `counts` do not match.
    """
    if len(edges) != len(counts) + 1:
        raise ValueError(f"{len(counts)} bins need {len(counts) + 1} edges, found {len(edges)}")
    limits = np.asarray(edges, float)
    limits[0] = limits[0] or limits[1] / 2
    figure = new_figure(4.5)
    axes = figure.subplots()
    axes.stairs(np.asarray(counts) / np.diff(np.log2(limits)), limits, fill=True, color=BLUE)
    axes.set_xscale("log", base=2)
    step = math.ceil(len(limits) / TICKS)
    shown = [(limit, f"{edge:,.0f}" if edge else "0") for limit, edge in list(zip(limits, edges, strict=True))[::step]]
    axes.set_xticks([place for place, _ in shown], [name for _, name in shown])
    axes.set_xlim(limits[0], limits[-1])
    finish(axes, "y")
    axes.set_title(f"{chip_class}: size of {sum(counts):,} boxes, which the areas stand for", loc="left")
    axes.set_xlabel("longer side of the box (% of the photograph's side)")
    axes.set_ylabel("boxes for each doubling of the side")
    return to_svg(figure)


def boxes_by_source(rows: Sequence[tuple[str, str, int, int, int]], chip_class: str = FACE) -> bytes:
    """Draw the share of boxes with each flag set, unset and unknown, one panel per source.

    Args:
        rows: Source of the box (such as xclick), flag (such as IsOccluded), number of boxes with 1, with 0 and with -1.
        chip_class: The class whose boxes were counted.
    """
    sources = list(dict.fromkeys(row[0] for row in rows))
    heights = [max(1, sum(row[0] == source for row in rows)) for source in sources] or [1]
    figure = new_figure(1.0 + sum(0.32 * height + 0.55 for height in heights))
    panels = np.atleast_1d(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights))
    for source, axes in zip(sources, panels, strict=False):
        mine = [row for row in rows if row[0] == source]
        totals = np.array([max(1, sum(row[2:])) for row in mine])
        left = np.zeros(len(mine))
        for index, (name, color) in enumerate((("1: set", ORANGE), ("0: not set", BLUE), ("-1: unknown", GRAY))):
            share = np.array([row[2 + index] for row in mine]) / totals * 100
            axes.barh([row[1] for row in mine], share, left=left, color=color, label=name)
            left += share
        axes.invert_yaxis()
        plain_axes(axes)
        axes.set_xlim(0, 100)
        axes.set_title(f"{source}: {max(sum(row[2:]) for row in mine):,} boxes", loc="left", fontsize=11)
    panels[-1].set_xlabel("share of the boxes (%)")
    figure.suptitle(f"{chip_class}: flags of the boxes, by their source", x=0.01, ha="left", fontsize=13)
    if sources:
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower right", ncols=3, frameon=False)
    return to_svg(figure)


def balance(found: Balance, labels: tuple[str, str], plural: str) -> bytes:
    """Draw the number of faces by label over the values of one column.

    Args:
        found: The faces by label.
        labels: The labels in order.
        plural: What the faces are called.
    """
    rows = [(row.name, row.faces[labels[0]], row.faces[labels[1]]) for row in found.rows]
    figure = new_figure(1.6 + 0.6 * max(len(rows), 2), width=6.5)  # stands beside its table
    axes = figure.subplots()
    paired_bars(axes, rows, *labels)
    axes.set_title(f"{found.title}: {plural} by label", loc="left")
    axes.set_xlabel(plural)
    return to_svg(figure)
