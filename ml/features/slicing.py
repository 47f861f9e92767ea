"""How the values of a column name the slices that the metrics of a model are reported for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LAST = 1_000


@dataclass(frozen=True)
class Slice:
    """A way to part faces by the values of a column.

    Attributes:
        title: What it parts by, for people.
        name: Gives the name of the slice that a value, which is not NULL, belongs to.
        order: All names in order; empty where the values name themselves.
        rank: Its place in the report. Lower comes first, equal ranks stay in the order of the table of columns.
    """

    title: str
    name: Callable[[Any], str] = str
    order: tuple[str, ...] = ()
    rank: int = LAST


def by_flag(title: str, set_: str, rank: int = LAST) -> Slice:
    """Part by a flag of Open Images: 1, 0, or -1 where it is unknown."""
    names = {1: set_, 0: f"not {set_}", -1: "unknown"}
    return Slice(title, lambda value: names[int(value)], tuple(names.values()), rank)


def by_range(title: str, edges: Sequence[float], text: Callable[[float], str], unit: str, rank: int = LAST) -> Slice:
    """Part a number into ranges.

    Args:
        title: What it parts by, for people.
        edges: Where a range ends and the next begins, ascending; an edge belongs to the range above it.
        text: Writes an edge, without its unit.
        unit: Written behind the edges.
        rank: See `Slice`.
    """
    names = (
        f"below {text(edges[0])}{unit}",
        *(f"{text(low)} to {text(high)}{unit}" for low, high in itertools.pairwise(edges)),
        f"{text(edges[-1])}{unit} and more",
    )
    return Slice(title, lambda value: names[int(np.searchsorted(edges, value, side="right"))], names, rank)
