"""A Hugging Face data set: Parquet shards with an image column, which `datasets` and the Hub read as they are."""

from __future__ import annotations

import json
import math
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ml.export.source import FLAGS, Source
from ml.export.written import Written, of_chips

SHARD_BYTES = 500_000_000  # the Hub's own size of shards
GROUP_ROWS = 100  # rows of a row group: as `datasets` writes images, so that a viewer reads little for one page
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SCHEMA = pa.schema(
    [
        ("image", _IMAGE),
        ("label", pa.int64()),
        *((name, pa.string()) for name in ("face_id", "image_id", "subset")),
        ("rotation", pa.int32()),
        ("face_px", pa.float64()),
        ("source", pa.string()),
        *((name, pa.int8()) for name in FLAGS),
        *((name, pa.string()) for name in ("license", "author", "title", "landing_page")),
    ]
)


def features_of(labels: tuple[str, ...]) -> dict[str, dict[str, object]]:
    """Return the features of the columns as `datasets` writes them into the schema's metadata."""
    known: dict[str, dict[str, object]] = {
        "image": {"_type": "Image"},
        "label": {"names": list(labels), "_type": "ClassLabel"},
    }
    return {
        field.name: known.get(field.name) or {"dtype": str(field.type).replace("double", "float64"), "_type": "Value"}
        for field in SCHEMA
    }


def write_hugging_face(source: Source, folder: Path, shard_bytes: int = SHARD_BYTES) -> Written:
    """Write the chips into shards of each part, byte for byte as they are in the table of chips."""
    rows = source.chips().drop_nulls("part")
    written = of_chips(source, rows)
    bytes_per_chip = source.chip_bytes / max(1, source.manifests["chip"].rows("chips"))
    shards = {}
    for part in written.parts:
        count = sum(written.faces[part].values())
        shards[part] = _Shards(folder, part, source.labels, count, math.ceil(count * bytes_per_chip / shard_bytes))
    try:
        for batch in source.encoded(rows):
            for (part,), found in batch.group_by("part", maintain_order=True):
                shards[str(part)].add(_table(found, source.labels))
    finally:
        for opened in shards.values():
            opened.close()
    return written


def _table(rows: pl.DataFrame, labels: tuple[str, ...]) -> pa.Table:
    """Return rows of chips with the columns of a shard."""
    number = {label: index for index, label in enumerate(labels)}
    path = pl.concat_str("face_id", pl.lit(".jpg"))
    made = rows.with_columns(
        pl.struct(pl.col("chip").alias("bytes"), path.alias("path")).alias("image"),
        pl.col("label").replace_strict(number, return_dtype=pl.Int64),
        pl.col("landing_url").alias("landing_page"),
    )
    return made.select(SCHEMA.names).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(SCHEMA)


class _Shards:
    """Writes the rows of one part into a known number of shards of equal length.

    Args:
        folder: The folder of the export.
        part: The split or subset.
        labels: The labels in order.
        rows: Number of rows that will be added.
        count: Number of shards.
    """

    def __init__(self, folder: Path, part: str, labels: tuple[str, ...], rows: int, count: int) -> None:
        self._folder = folder / "data"
        self._folder.mkdir(exist_ok=True)
        self._part = part
        self._count = max(1, min(count, rows))
        # The first shards have one row more where the rows do not divide evenly.
        self._lengths = [rows // self._count + (number < rows % self._count) for number in range(self._count)]
        features = json.dumps({"info": {"features": features_of(labels)}})
        self._schema = SCHEMA.with_metadata({"huggingface": features})
        self._waiting: list[pa.Table] = []
        self._number, self._written = 0, 0
        self._writer: pq.ParquetWriter | None = None

    def add(self, table: pa.Table) -> None:
        """Add rows; write them as soon as they fill a row group or a shard."""
        self._waiting.append(table)
        while (size := self._next()) and sum(map(len, self._waiting)) >= size:
            waiting = pa.concat_tables(self._waiting)
            self._write(waiting[:size])
            self._waiting = [waiting[size:]]

    def close(self) -> None:
        """Close the shard that is open."""
        if self._writer is not None:
            self._writer.close()

    def _next(self) -> int:
        """Return the number of rows of the next row group, 0 after the last one."""
        if self._number == self._count:
            return 0
        return min(GROUP_ROWS, self._lengths[self._number] - self._written)

    def _write(self, table: pa.Table) -> None:
        if self._writer is None:
            name = f"{self._part}-{self._number:05d}-of-{self._count:05d}.parquet"
            self._writer = pq.ParquetWriter(self._folder / name, self._schema)
        self._writer.write_table(table.replace_schema_metadata(self._schema.metadata))
        self._written += len(table)
        if self._written == self._lengths[self._number]:
            self._writer.close()
            self._writer, self._number, self._written = None, self._number + 1, 0
