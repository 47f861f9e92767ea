"""The figures of exploration and training, as PNG bytes, and the look of all figures.

Figures are made without pyplot, so that nothing is kept between calls and threads do not disturb one another.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from ml.config import FACE

WIDTH = 9.0  # inches; text is set for pictures shown 900 pixels wide
DPI = 150
BLUE, ORANGE, GREY, DARK = "#2f6f9f", "#d98032", "#b4bac0", "#333a40"
PERCEIVED = "perceived gender presentation"
MANY_FACES = 10
TICKS = 16


def to_png(figure: Figure) -> bytes:
    """Encode a figure as PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def top_classes(rows: Sequence[tuple[str, int, int]]) -> bytes:
    """The ten classes verified on most images.

    Args:
        rows: Class name, images verified to hold it, images verified not to hold it; in any order, of any length.
    """
    shown = sorted(rows, key=lambda row: (-row[1], row[0]))[:10]
    figure = new_figure(1.6 + 0.5 * max(len(shown), 2))
    axes = figure.subplots()
    _paired_bars(axes, shown, "verified present", "verified absent")
    axes.set_title(f"The {len(shown)} classes verified on most images", loc="left")
    axes.set_xlabel("images")
    return to_png(figure)


def verified_images(rows: Sequence[tuple[str, int, int]], subject: str = PERCEIVED) -> bytes:
    """Images by label and by what was verified on them.

    Args:
        rows: Label; images on which every verified label is positive (the notebook's 'good'); images on which a label
            is verified absent (its 'bad').
        subject: What the labels are about.
    """
    figure = new_figure(2.0 + 0.6 * max(len(rows), 2))
    axes = figure.subplots()
    _paired_bars(axes, rows, "all labels verified present", "a label verified absent")
    axes.set_title(f"Images by label ({subject}) and verification", loc="left")
    axes.set_xlabel("images")
    return to_png(figure)


def faces_per_image(counts: Mapping[int, int], chip_class: str = FACE) -> bytes:
    """How many images hold how many face boxes; ten and more are one bar.

    Args:
        counts: Faces on an image to the number of such images.
        chip_class: The class whose boxes were counted.
    """
    last = min(max(counts, default=1), MANY_FACES)
    numbers = range(min(counts, default=1) and 1, last + 1)  # the bar for no face only where it was counted
    heights = [sum(n for faces, n in counts.items() if min(faces, MANY_FACES) == number) for number in numbers]
    names = [f"{number} or more" if number == MANY_FACES else str(number) for number in numbers]
    figure = new_figure(4.5)
    axes = figure.subplots()
    bars = axes.bar(names, heights, color=BLUE)
    axes.margins(y=0.08)
    axes.bar_label(bars, labels=[f"{height:,}" for height in heights], fontsize=9, color=DARK, padding=2)
    _finish(axes, "y")
    axes.set_title(f"{chip_class}: boxes on an image", loc="left")
    axes.set_xlabel("boxes on the image")
    axes.set_ylabel("images")
    return to_png(figure)


def face_sizes(edges: Sequence[float], counts: Sequence[int], chip_class: str = FACE) -> bytes:
    """A histogram of the faces' longer side. Bins are drawn equally wide, whatever they span.

    Args:
        edges: Limits of the bins in per cent of the photograph's side, ascending, one more than `counts`.
        counts: Faces in each bin.
        chip_class: The class whose boxes were counted.

    Raises:
        ValueError: `edges` and `counts` do not fit.
    """
    if len(edges) != len(counts) + 1:
        raise ValueError(f"{len(counts)} bins need {len(counts) + 1} edges, found {len(edges)}")
    figure = new_figure(4.5)
    axes = figure.subplots()
    axes.bar(np.arange(len(counts)) + 0.5, counts, width=0.96, color=BLUE)
    step = math.ceil(len(edges) / TICKS)
    shown = range(0, len(edges), step)
    axes.set_xticks(list(shown), [f"{edges[i]:,.0f}" for i in shown])
    axes.set_xlim(0, max(len(counts), 1))
    _finish(axes, "y")
    axes.set_title(f"{chip_class}: size of {sum(counts):,} boxes", loc="left")
    axes.set_xlabel("longer side of the box (% of the photograph's side)")
    axes.set_ylabel("boxes")
    return to_png(figure)


def boxes_by_source(rows: Sequence[tuple[str, str, int, int, int]], chip_class: str = FACE) -> bytes:
    """The share of boxes with each flag set, unset and unknown, one panel a source.

    Args:
        rows: Source of the box (such as xclick), flag (such as IsOccluded), boxes with 1, with 0 and with -1.
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
        for index, (name, colour) in enumerate((("1: set", ORANGE), ("0: not set", BLUE), ("-1: unknown", GREY))):
            share = np.array([row[2 + index] for row in mine]) / totals * 100
            axes.barh([row[1] for row in mine], share, left=left, color=colour, label=name)
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
    return to_png(figure)


def training_curves(history: Sequence[Mapping[str, Any]], best_epoch: int) -> bytes:
    """Loss and accuracy of training and validation by epoch, with the epoch whose weights were kept.

    Args:
        history: One mapping an epoch: epoch (from 1), loss, accuracy, val_loss, val_accuracy.
        best_epoch: The epoch whose weights the model has.
    """
    figure = new_figure(3.8)
    epochs = [row["epoch"] for row in history]
    for axes, name, unit in zip(figure.subplots(1, 2), ("loss", "accuracy"), ("nats a face", "share"), strict=True):
        marker = "o" if len(epochs) < 3 else ""  # a line through one epoch cannot be seen
        axes.plot(epochs, [row[name] for row in history], color=GREY, marker=marker, label="training")
        axes.plot(epochs, [row[f"val_{name}"] for row in history], color=BLUE, marker=marker, label="validation")
        axes.axvline(best_epoch, color=ORANGE, linestyle="--", linewidth=1.2, label=f"epoch kept: {best_epoch}")
        plain_axes(axes)
        axes.grid(color="#e6e9ec", linewidth=0.8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(f"{name.capitalize()} by epoch", loc="left")
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"{name} ({unit})")
        axes.legend(frameon=False)
    return to_png(figure)


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure of the given size in inches."""
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    return Figure(figsize=(width, height), layout=layout)


def _paired_bars(axes: Axes, rows: Sequence[tuple[str, int, int]], present: str, absent: str) -> None:
    """Two horizontal bars a row, the first row on top."""
    places = np.arange(len(rows))
    for offset, column, colour, name in ((-0.2, 1, BLUE, present), (0.2, 2, ORANGE, absent)):
        values = [int(row[column]) for row in rows]
        bars = axes.barh(places + offset, values, height=0.38, color=colour, label=name)
        axes.bar_label(bars, labels=[f"{value:,}" for value in values], padding=3, fontsize=9, color=DARK)
    axes.set_yticks(places, [row[0] for row in rows])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    _finish(axes, "x")
    axes.figure.legend(loc="outside lower right", ncols=2, frameon=False)


def _finish(axes: Axes, value_axis: str) -> None:
    """The look of a bar chart: grid along the values, thousands separated, whole numbers."""
    plain_axes(axes)
    axes.set_axisbelow(True)
    axis = axes.xaxis if value_axis == "x" else axes.yaxis
    axis.grid(color="#e6e9ec", linewidth=0.8)
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.set_major_locator(MaxNLocator(nbins=7, integer=True))


def plain_axes(axes: Axes) -> None:
    """Take away what says nothing: the frame's upper and right side, and tick marks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=DARK, length=0)
