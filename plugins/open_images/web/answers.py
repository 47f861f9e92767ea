"""The tables of a prediction run: rows for the page, and whole tables to download.

A table can have millions of rows in hundreds of Parquet files. The page gets a few at a time; a download is written
while it is sent, one row group in memory.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ml import storage
from ml.prediction.record import SAMPLE, sample_name
from ml.workflow.manifest import Manifest

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

Table = Literal["faces", "photographs"]
Format = Literal["csv", "parquet"]
Order = Literal["unsure", "sure"]
CATEGORIES: dict[Table, str] = {"faces": "label", "photographs": "status"}
MEDIA_TYPES: dict[Format, str] = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
PAGE = 50  # rows
SORTED = 2_000_000  # rows that are sorted in the web server's memory at most


class TooManyRowsError(Exception):
    """More rows match than are sorted."""


@dataclass(frozen=True)
class Query:
    """What to show of a table.

    Attributes:
        table: The table.
        value: Only rows with this label, or status; empty: all.
        text: Only photographs whose path contains this text, in any case.
        order: Faces by their confidence; None: as stored.
        offset: Number of matching rows to leave out.
    """

    table: Table
    value: str = ""
    text: str = ""
    order: Order | None = None
    offset: int = 0


def find_rows(manifest: Manifest, query: Query) -> dict[str, Any]:
    """Return the rows of a table that match, as JSON values.

    Returns:
        `total`, the number of matching rows; `rows`, at most `PAGE` of them from the offset, each with the columns of
        the table and `sample`, the path of the annotated copy of its photograph in the attempt, or None.

    Raises:
        KeyError: The attempt has no such table.
        TooManyRowsError: An order is asked for, and more than `SORTED` rows match.
    """
    import polars as pl

    from ml.workflow.tables import scan_table

    rows = scan_table(manifest, query.table).filter(*_conditions(query))
    total = int(rows.select(pl.len()).collect().item())
    if query.order and query.table == "faces":
        if total > SORTED:
            raise TooManyRowsError
        rows = rows.sort("confidence", "photo", "face", descending=[query.order == "sure", False, False])
    found = rows.slice(query.offset, PAGE).collect().to_dicts()
    copies = {file.path for file in manifest.files if file.path.startswith(f"{SAMPLE}/")}
    for row in found:
        copy = f"{SAMPLE}/{sample_name(row['photo'])}"
        row["sample"] = copy if copy in copies else None
    return {"total": total, "rows": found}


def _conditions(query: Query) -> list[pl.Expr]:
    import polars as pl

    conditions = [pl.lit(True)]
    if query.value:
        conditions.append(pl.col(CATEGORIES[query.table]) == query.value)
    if query.text:
        conditions.append(pl.col("photo").str.to_lowercase().str.contains(query.text.lower(), literal=True))
    return conditions


def download(manifest: Manifest, table: Table, kind: Format) -> Iterator[bytes]:
    """Yield a whole table as one CSV or Parquet file.

    Raises:
        KeyError: The attempt has no such table.
    """
    import pyarrow.csv
    import pyarrow.parquet as pq

    uris = manifest.table(table)
    if not uris:
        raise KeyError(f"{manifest.uri} has no table {table}")
    sink = _Sink()
    batches = _batches(uris)
    first = next(batches)
    make = pq.ParquetWriter if kind == "parquet" else pyarrow.csv.CSVWriter
    with make(sink, first.schema) as writer:
        while first is not None:
            writer.write_table(first)
            yield sink.take()
            first = next(batches, None)
    yield sink.take()


def _batches(uris: list[str]) -> Iterator[pa.Table]:
    """Yield the row groups of Parquet files; of an empty table, one without rows."""
    import pyarrow.parquet as pq

    empty = True
    for uri in uris:
        with storage.open_read(uri) as file, pq.ParquetFile(file) as parquet:
            schema = parquet.schema_arrow
            for number in range(parquet.num_row_groups):
                empty = False
                yield parquet.read_row_group(number).replace_schema_metadata(None)
    if empty:
        yield schema.remove_metadata().empty_table()


class _Sink(io.RawIOBase):
    """A file that is only written, whose content so far can be taken away."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any) -> int:
        """Keep a part of the content."""
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def take(self) -> bytes:
        """Return what was written since the last call."""
        content = b"".join(self._parts)
        self._parts.clear()
        return content
