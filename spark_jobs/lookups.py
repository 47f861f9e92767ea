"""Small building blocks for Arrow tables of whole images: keys, lookups by key, and pairs of rows with equal keys.

A NULL in a key makes the key NULL, and a NULL key equals none, as in SQL.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Index = NDArray[np.int64]


def key(rows: pa.Table, *columns: str) -> pa.ChunkedArray:
    """Return one text per row that is equal where all the columns are."""
    first, *others = (rows.column(column) for column in columns)
    return pc.binary_join_element_wise(first, *others, "/") if others else first


def find(keys: pa.ChunkedArray, among: pa.ChunkedArray) -> Index:
    """Return for each key its place among other keys, -1 where it is not there."""
    places = pc.index_in(keys, value_set=_flat(among), skip_nulls=True)
    return np.asarray(places.fill_null(-1).to_numpy()).astype(np.int64)


def take(column: pa.ChunkedArray, places: Index) -> pa.ChunkedArray:
    """Return the column's values at these places, NULL at -1."""
    return column.take(pa.array(places, mask=places < 0))


def pairs(left: pa.ChunkedArray, right: pa.ChunkedArray) -> tuple[Index, Index]:
    """Return the places of all pairs of equal keys, in the order of the left ones."""
    encoded = _flat(right).dictionary_encode()
    keys, right_code = encoded.dictionary, np.asarray(encoded.indices.fill_null(-1).to_numpy())
    left_code = find(left, keys)
    order = np.argsort(right_code, kind="stable")
    starts = np.searchsorted(right_code[order], np.arange(len(keys) + 1))
    # A left key that is NULL or has no match has code -1, which takes the empty range at the end.
    first = np.append(starts[:-1], 0)[left_code]
    counts = np.append(np.diff(starts), 0)[left_code]
    before = np.cumsum(counts) - counts
    within = np.arange(counts.sum()) - np.repeat(before, counts)
    return np.repeat(np.arange(len(left)), counts), order[np.repeat(first, counts) + within]


def ranked(column: pa.ChunkedArray) -> tuple[pa.Array, Index]:
    """Return a column's distinct values in order, and each row's place among them, -1 for NULL."""
    values = pc.unique(column).drop_null()
    values = values.take(pc.sort_indices(values))
    return values, find(column, values)


def mapped(column: pa.ChunkedArray, values: Mapping[str, str]) -> pa.ChunkedArray:
    """Return the value that a mapping has for each text, NULL where it has none."""
    return take(pa.chunked_array([pa.array(values.values(), pa.string())]), find(column, pa.array(values, pa.string())))


def true(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Return where a condition holds; where it is NULL it does not."""
    return np.asarray(column.fill_null(False).to_numpy())


def first_reason(*cases: tuple[str, NDArray[np.bool_]]) -> pa.Array:
    """Return for each row the first reason whose condition holds, NULL where none does."""
    places = np.select([holds for _, holds in cases], [np.int64(n) for n in range(len(cases))], default=np.int64(-1))
    return pa.array([reason for reason, _ in cases], pa.string()).take(pa.array(places, mask=places < 0))


def _flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
