"""Hashes of texts and of rows, computed for whole columns at once, that depend on nothing but the values."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
_NULL = np.uint64(0x9E3779B97F4A7C15)


def hash_texts(texts: pa.ChunkedArray, seed: int = 0) -> Hashes:
    """Return a 64-bit hash of each text; that of NULL is that of the empty text."""
    joined = pa.concat_arrays([chunk.fill_null("") for chunk in texts.chunks] or [pa.array([], pa.string())])
    if not len(joined):
        return np.zeros(0, np.uint64)
    _, offsets, data = joined.buffers()
    ends = np.frombuffer(offsets, np.int32)[joined.offset : joined.offset + len(joined) + 1]
    letters = np.frombuffer(data or b"", np.uint8)[ends[0] : ends[-1]]
    lengths = np.diff(ends)
    # Words of eight letters, padded with zeros.
    width = -(-max(1, int(lengths.max())) // 8) * 8
    padded = np.zeros((len(joined), width), np.uint8)
    if (lengths == lengths[0]).all():
        padded[:, : lengths[0]] = letters.reshape(len(joined), lengths[0])
    else:
        padded[np.arange(width) < lengths[:, None]] = letters
    hashed = lengths.astype(np.uint64) ^ np.uint64(seed)
    for start, word in enumerate(padded.view("<u8").T):
        # A text's hash must not depend on how long the others are, so only its own words count.
        hashed = np.where(lengths > 8 * start, _mix(hashed ^ word), hashed)
    return hashed


def hash_rows(rows: pa.Table, seed: int = 0) -> Hashes:
    """Return a 64-bit hash of each row, over all columns in their order."""
    hashed = np.full(len(rows), seed + 1, np.uint64)
    for column in rows.columns:
        hashed = _mix(hashed ^ _hash_values(column))
    return hashed


def _hash_values(column: pa.ChunkedArray) -> Hashes:
    """Hash texts, and take numbers by their bits."""
    if pa.types.is_string(column.type):
        values = hash_texts(column)
    else:
        kind = np.float64 if pa.types.is_floating(column.type) else np.int64
        values = np.asarray(column.fill_null(0).to_numpy()).astype(kind).view(np.uint64)
    return np.where(np.asarray(column.is_null().to_numpy()), _NULL, values)


def _mix(words: Hashes) -> Hashes:
    """Spread each bit over the whole word: the last step of MurmurHash3."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        words = (words ^ (words >> np.uint64(33))) * np.uint64(factor)
    return words ^ (words >> np.uint64(33))
