"""How to split faces by the values of a column into the slices for which metrics are reported.

To add a slicing, add it to its column's row in `ml.features.columns`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LAST = 1_000


@dataclass(frozen=True)
class Slicing:
    """A way to split faces by the values of a column.

    Attributes:
        title: The criterion, as shown to people.
        name: Returns the name of the slice that a value other than NULL belongs to; None if it belongs to none.
        order: All names in order; empty if the values are the names.
        rank: The position in the report. Lower ranks come first; equal ranks keep the order of the table of columns.
    """

    title: str
    name: Callable[[Any], str | None] = str
    order: tuple[str, ...] = ()
    rank: int = LAST


def by_flag(title: str, set_: str, rank: int = LAST) -> Slicing:
    """Split by an Open Images flag: 1, 0 or -1 (unknown)."""
    names = {1: set_, 0: f"not {set_}", -1: "unknown"}
    return Slicing(title, lambda value: names[int(value)], tuple(names.values()), rank)


def by_range(title: str, edges: Sequence[float], text: Callable[[float], str], unit: str, rank: int = LAST) -> Slicing:
    """Split numbers into ranges.

    Args:
        title: The criterion, as shown to people.
        edges: The ascending edges between ranges; an edge belongs to the range above it.
        text: Formats an edge without its unit.
        unit: The unit, written after the edges.
        rank: See `Slicing`.
    """
    names = (
        f"below {text(edges[0])}{unit}",
        *(f"{text(low)} to {text(high)}{unit}" for low, high in itertools.pairwise(edges)),
        f"{text(edges[-1])}{unit} and more",
    )
    return Slicing(title, lambda value: names[int(np.searchsorted(edges, value, side="right"))], names, rank)
