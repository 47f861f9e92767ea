"""Compare the content of attempts: the same inputs and versions must give the same files, rows, order and values.

The bytes of a Parquet file do not tell: its footer, row groups and compression may differ from one write to the next,
and Spark puts a new UUID into its name. So a table is compared by its schema and by its rows in order, under a name
without the UUID. A JSON file is compared by its values without the attempt's own URI, any other file by its bytes.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from ml import storage
from ml.workflow.manifest import Manifest

BLOCK_ROWS = 1024
READ_BUFFER = 4 << 20  # bytes; without it Arrow reads a whole column of a row group at once
SHOWN = 60  # characters of a value
# part-00003-5d0e3b1c-....c000.snappy.parquet: the task's number, the write's UUID, the file's number, the compression
_SPARK_NAME = re.compile(r"part-(\d+)-[0-9a-f-]{36}(?:\.|-)c(\d+)(?:\.[a-z0-9]+)?\.parquet$")
THIS = "attempt://this"  # stands for the attempt's own folder in JSON files


class Difference(BaseModel):
    """The first difference between two attempts.

    Attributes:
        file: Logical name of the file.
        row: The row of a table, from 0; None for anything else.
        column: The column of a table; None for anything else.
        left: What the first attempt has.
        right: What the second attempt has.
    """

    model_config = ConfigDict(frozen=True)

    file: str
    row: int | None = None
    column: str | None = None
    left: str
    right: str

    def __str__(self) -> str:
        """Return the difference as a sentence."""
        row = "" if self.row is None else f", row {self.row}"
        column = "" if self.column is None else f", column {self.column}"
        return f"{self.file}{row}{column}: {self.left}, but {self.right} in the other"


def logical_name(path: str) -> str:
    """Return a file's path without what differs each time Spark writes it: a UUID, and the compression."""
    return _SPARK_NAME.sub(r"part-\1-\2.parquet", path)


def content_files(manifest: Manifest) -> dict[str, str]:
    """Return the URI of each file of an attempt by its logical name, in order; those of its parts by delivery."""
    found = {}
    for delivery, part in zip(manifest.parts or [""], manifest.of_deliveries(), strict=True):
        for file in part.files:
            name = logical_name(file.path)
            found[f"{delivery}/{name}" if delivery else name] = storage.join(part.uri, file.path)
    return dict(sorted(found.items()))


def attempt_digest(manifest: Manifest) -> str:
    """Return the digest of an attempt's content: equal for two attempts if and only if `first_difference` is None."""
    digest = hashlib.sha256()
    for name, uri in content_files(manifest).items():
        digest.update(f"{name}\0{content_digest(uri, manifest.uri)}\n".encode())
    return digest.hexdigest()


def content_digest(uri: str, attempt: str = "") -> str:
    """Return the digest of a file's content.

    Args:
        uri: The file.
        attempt: The attempt that it belongs to, whose own URI does not count in JSON.
    """
    if uri.endswith(".parquet"):
        return _table_digest(uri)
    return hashlib.sha256(_canonical(uri, attempt)).hexdigest()


def first_difference(left: Manifest, right: Manifest) -> Difference | None:
    """Return the first difference between the contents of two attempts, or None if they are the same."""
    files = (content_files(left), content_files(right))
    for name in sorted(files[0].keys() | files[1].keys()):
        if name not in files[0] or name not in files[1]:
            there = ["there" if name in side else "missing" for side in files]
            return Difference(file=name, left=there[0], right=there[1])
    for name, uri in files[0].items():
        if found := _file_difference(name, (uri, left.uri), (files[1][name], right.uri)):
            return found
    return None


def _file_difference(name: str, left: tuple[str, str], right: tuple[str, str]) -> Difference | None:
    """Return the first difference of two files, given by their URIs and attempts."""
    if name.endswith(".parquet"):
        return _table_difference(name, left[0], right[0])
    one, other = _canonical(*left), _canonical(*right)
    if one == other:
        return None
    at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    if name.endswith(".json"):
        shown = [side[max(0, at - 20) : at + 40].decode(errors="replace") for side in (one, other)]
        return Difference(file=name, left=f"…{shown[0]}…", right=f"…{shown[1]}…")
    sizes = [f"{len(side):,} bytes" for side in (one, other)]
    return Difference(file=name, left=f"{sizes[0]}, first different at {at}", right=sizes[1])


def _table_difference(name: str, left: str, right: str) -> Difference | None:
    """Return the first difference of two Parquet files: of their schemas, then row by row."""
    schemas = (_schema(left), _schema(right))
    if schemas[0] != schemas[1]:
        return Difference(file=name, left=f"columns {schemas[0]}", right=f"columns {schemas[1]}")
    start = 0
    for one, other in itertools.zip_longest(_blocks(left), _blocks(right)):
        rows = [0 if block is None else block.num_rows for block in (one, other)]
        if found := _block_difference(one, other) if all(rows) else None:
            row, column, values = found
            return Difference(file=name, row=start + row, column=column, left=values[0], right=values[1])
        if rows[0] != rows[1]:
            ends = [f"{_rows(uri):,} rows" for uri in (left, right)]
            return Difference(file=name, row=start + min(rows), left=ends[0], right=ends[1])
        start += rows[0]
    return None


def _block_difference(left: pa.Table, right: pa.Table) -> tuple[int, str, tuple[str, str]] | None:
    """Return row, column and both values of the first difference in the rows that both blocks have."""
    common = min(left.num_rows, right.num_rows)
    found = []
    for column in left.column_names:
        sides = [block.column(column).slice(0, common).combine_chunks() for block in (left, right)]
        if _value_bytes(sides[0]) != _value_bytes(sides[1]):
            row = next(
                i for i in range(common) if _value_bytes(sides[0][i : i + 1]) != _value_bytes(sides[1][i : i + 1])
            )
            found.append((row, column, (_shown(sides[0][row]), _shown(sides[1][row]))))
    return min(found, key=lambda each: each[0], default=None)


def _table_digest(uri: str) -> str:
    columns: dict[str, Any] = {}
    for block in _blocks(uri):
        for name in block.column_names:
            digest = columns.setdefault(name, hashlib.sha256())
            digest.update(_value_bytes(block.column(name).combine_chunks()))
    content = {"schema": _schema(uri), "columns": {name: digest.hexdigest() for name, digest in columns.items()}}
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _schema(uri: str) -> str:
    """Return the names and types of a table's columns, in order, without the writer's metadata."""
    with storage.open_read(uri) as file:
        schema = pq.read_schema(file)
    return ", ".join(f"{field.name} {field.type}{'' if field.nullable else ' required'}" for field in schema)


def _rows(uri: str) -> int:
    with storage.open_read(uri) as file:
        return int(pq.ParquetFile(file).metadata.num_rows)


def _blocks(uri: str) -> Iterator[pa.Table]:
    """Yield the rows of a table in blocks of `BLOCK_ROWS`, wherever its row groups end."""
    with storage.open_read(uri) as file:
        held: list[pa.RecordBatch] = []
        for batch in pq.ParquetFile(file, buffer_size=READ_BUFFER).iter_batches(BLOCK_ROWS):
            held.append(batch)
            while sum(each.num_rows for each in held) >= BLOCK_ROWS:
                table = pa.Table.from_batches(held)
                yield table.slice(0, BLOCK_ROWS)
                held = table.slice(BLOCK_ROWS).to_batches()
        if sum(each.num_rows for each in held):
            yield pa.Table.from_batches(held)


def _value_bytes(values: pa.Array) -> bytes:
    """Return bytes that are equal for equal values, bit by bit, and do not depend on how Arrow holds them."""
    there: bytes = values.is_valid().to_numpy(zero_copy_only=False).tobytes()
    filled = values.drop_null()
    if pa.types.is_boolean(filled.type) or pa.types.is_primitive(filled.type):
        numbers: bytes = filled.to_numpy(zero_copy_only=False).tobytes()
        return there + numbers
    if pa.types.is_binary(filled.type) or pa.types.is_string(filled.type):
        lengths: bytes = pc.binary_length(filled).to_numpy(zero_copy_only=False).tobytes()
        return there + lengths + b"".join(filled.cast(pa.binary()).to_pylist())
    return there + repr(filled.to_pylist()).encode()  # lists, maps and structures


def _shown(value: pa.Scalar) -> str:
    text = repr(value.as_py())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… (SHA-256 {hashlib.sha256(text.encode()).hexdigest()[:12]})"


def _canonical(uri: str, attempt: str) -> bytes:
    """Return a file's bytes; of JSON the values with sorted names, without the URI of the attempt."""
    content = storage.read_bytes(uri)
    if not uri.endswith(".json"):
        return content
    text = json.dumps(json.loads(content), sort_keys=True, ensure_ascii=False)
    return (text.replace(attempt, THIS) if attempt else text).encode()
