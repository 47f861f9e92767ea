"""What all figures share: size, colors, axes and SVG encoding.

A figure is an SVG file: sharp at any size, a few dozen kilobytes, and readable on a dark page. Its colors are written
as for a light page; a style at its beginning replaces them where the reader's browser prefers dark. Text is drawn as
paths, so it looks the same everywhere and never runs over what it was placed beside.

Figures are made without pyplot, which keeps figures between calls and is not safe to use from several threads.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

WIDTH = 9.0  # inches; text sizes suit pictures shown 900 pixels wide
BLUE, ORANGE, GRAY, DARK, GRID, BLACK = "#2f6f9f", "#d98032", "#b4bac0", "#333a40", "#e6e9ec", "#000000"
# What they become on a dark page. Other colors, such as those of text inside a colored cell, stay.
ON_DARK = {BLUE: "#7fb6e0", ORANGE: "#f0a05a", GRAY: "#6b757f", DARK: "#d5dbe1", GRID: "#343b43", BLACK: "#d5dbe1"}
# Matplotlib writes styles as attributes, `fill: #333a40`, and leaves out a black fill.
_RULES = "".join(
    f'[style*="{part}: {light}"]{{{part}:{dark}!important}}'
    for light, dark in ON_DARK.items()
    for part in ("fill", "stroke")
)
STYLE = f"<style>@media screen and (prefers-color-scheme:dark){{svg{{fill:{ON_DARK[BLACK]}}}{_RULES}}}</style>"


def to_svg(figure: Figure) -> bytes:
    """Encode a figure as SVG with a transparent background; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "open-images", "svg.fonttype": "path"}):
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    text = buffer.getvalue().decode()
    return re.sub(r"(<svg\b[^>]*>)", lambda found: found[1] + STYLE, text, count=1).encode()


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure of the given size in inches."""
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    return Figure(figsize=(width, height), layout=layout)


def paired_bars(axes: Axes, rows: Sequence[tuple[str, int, int]], present: str, absent: str) -> None:
    """Draw two horizontal bars per row, the first row on top."""
    places = np.arange(len(rows))
    for offset, column, color, name in ((-0.2, 1, BLUE, present), (0.2, 2, ORANGE, absent)):
        values = [int(row[column]) for row in rows]
        bars = axes.barh(places + offset, values, height=0.38, color=color, label=name)
        axes.bar_label(bars, labels=[f"{value:,}" for value in values], padding=3, fontsize=9, color=DARK)
    axes.set_yticks(places, [row[0] for row in rows])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    finish(axes, "x")
    axes.figure.legend(loc="outside lower right", ncols=2, frameon=False)


def finish(axes: Axes, value_axis: str) -> None:
    """Style a bar chart: grid along the values, thousands separated, whole numbers."""
    plain_axes(axes)
    axes.set_axisbelow(True)
    axis = axes.xaxis if value_axis == "x" else axes.yaxis
    axis.grid(color=GRID, linewidth=0.8)
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.set_major_locator(MaxNLocator(nbins=7, integer=True))


def plain_axes(axes: Axes) -> None:
    """Remove the frame's upper and right sides and the tick marks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRAY)
    axes.tick_params(colors=DARK, length=0)
