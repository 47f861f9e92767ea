"""The ids of faces: the ImageID and a digest of what identifies the box."""

from __future__ import annotations

import hashlib
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ml.features.columns import EDGES

DIGITS = 12
_HEX = np.array([list(f"{byte:02x}".encode()) for byte in range(256)], np.uint8)


def face_ids(boxes: pa.Table) -> pa.Array:
    """Return the id of each box, from its subset, ImageID and edges.

    Ids are kept in lists outside of this project, so they never change: NULL is left out, and a number is spelled as
    Java spells it.
    """
    parts = [boxes.column("subset"), boxes.column("image_id"), *(spell(boxes.column(edge)) for edge in EDGES)]
    identities = pc.binary_join_element_wise(*parts, "|", null_handling="skip").cast(pa.binary())
    digests = b"".join([hashlib.sha256(identity).digest() for identity in identities.to_pylist()])
    first = np.frombuffer(digests, np.uint8).reshape(-1, 32)[:, : DIGITS // 2]
    letters = np.ascontiguousarray(_HEX[first])  # all at once: a digest in hex costs as much as the digest
    offsets = np.arange(len(identities) + 1, dtype=np.int32) * DIGITS
    digest = pa.Array.from_buffers(pa.string(), len(identities), [None, pa.py_buffer(offsets), pa.py_buffer(letters)])
    return pc.binary_join_element_wise(boxes.column("image_id"), _chunked(digest), "-", null_handling="skip")


def spell(numbers: pa.ChunkedArray) -> pa.ChunkedArray:
    """Spell numbers as Java does: the fewest digits that tell the number from others, and at least one after the point.

    Below 0.001 and from ten million on, Java writes a power of ten, such as 1.0E-4.
    """
    numbers = pa.chunked_array(numbers.chunks, pa.float64())
    values = np.asarray(numbers.to_numpy())
    with np.errstate(invalid="ignore"):
        plain = ((np.abs(values) >= 1e-3) & (np.abs(values) < 1e7)) | (values == 0)
        whole = plain & (values == np.floor(values))
    texts = numbers.cast(pa.string())
    texts = pc.if_else(pa.array(whole), pc.binary_join_element_wise(texts, ".0", ""), texts)
    others = pa.array(~plain & ~np.asarray(numbers.is_null().to_numpy()))
    if not pc.any(others).as_py():
        return texts
    spelled = [_spell(value) for value in numbers.filter(others).to_pylist()]
    return pc.replace_with_mask(_flat(texts), others, pa.array(spelled, pa.string()))


def _spell(value: float) -> str:
    if not np.isfinite(value):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(float(value))]
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    first, *rest = map(str, digits)
    return f"{'-' * sign}{first}.{''.join(rest) or '0'}E{len(rest) + int(exponent)}"


def _chunked(texts: pa.Array) -> pa.ChunkedArray:
    return pa.chunked_array([texts])


def _flat(texts: pa.ChunkedArray) -> pa.Array:
    return texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
