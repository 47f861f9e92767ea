"""Photographs in a Parquet table: a row per photograph, with its image id, its subset and its encoded bytes."""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from ml import storage
from ml.errors import DataError
from ml.photographs.shard_files import PARQUET, ShardedPhotographs, find_wanted
from ml.photographs.source import NOTEBOOK, Columns, Key, Shard

ROWS = 64  # made into Python objects at a time
SHARD_BYTES = 64 << 20  # at least, of the row groups that one task reads; a few seconds of work
READ_BUFFER = 1 << 20


@dataclass(frozen=True)
class ParquetPhotographs(ShardedPhotographs):
    """Photographs in a Parquet file, or in the Parquet files of a folder.

    Attributes:
        columns: The names of the columns.
    """

    SUFFIXES = PARQUET

    columns: Columns = NOTEBOOK

    def shards(self) -> tuple[Shard, ...]:
        """Return consecutive row groups that together are large enough for a task.

        Raises:
            DataError: A file is no Parquet file, or lacks a column.
        """
        found = []
        for uri in self.files():
            with self._open(uri) as file:
                groups: list[int] = []
                size = 0
                for number in range(file.num_row_groups):
                    groups.append(number)
                    size += file.metadata.row_group(number).total_byte_size
                    if size >= SHARD_BYTES:
                        found.append(Shard(uri, tuple(groups)))
                        groups, size = [], 0
                if groups:
                    found.append(Shard(uri, tuple(groups)))
        return tuple(found)

    def keys(self, shard: Shard) -> Iterator[Key]:
        """Yield the keys of a shard's photographs, without reading the photographs."""
        with self._open(shard.uri) as file:
            for number in shard.row_groups:
                yield from self._keys(file, number)

    def read_shard(self, shard: Shard, wanted: Container[Key] | None) -> Iterator[tuple[Key, bytes]]:
        """Yield the wanted photographs; a row group without any is not read."""
        with self._open(shard.uri) as file:
            for number in shard.row_groups:
                keys = [find_wanted(*key, wanted) for key in self._keys(file, number)]
                if not any(keys):
                    continue
                batches = file.iter_batches(ROWS, row_groups=[number], columns=[self.columns.data], use_threads=False)
                row = 0
                for batch in batches:
                    data = batch.column(0)
                    for index in range(len(data)):
                        if key := keys[row + index]:
                            yield key, data[index].as_py() or b""  # NULL is no image
                    row += len(data)

    def digest(self) -> str:
        """Return a digest of the shards' files and of the columns read."""
        return super().digest() if self.columns == NOTEBOOK else f"{super().digest()} {','.join(self.columns)}"

    @contextmanager
    def _open(self, uri: str) -> Iterator[pq.ParquetFile]:
        try:
            with storage.open_read(uri) as source:
                file = pq.ParquetFile(source, buffer_size=READ_BUFFER)
                if lacking := [name for name in self.columns if name not in file.schema_arrow.names]:
                    raise DataError(
                        f"{uri} lacks the column {', '.join(lacking)} (it has {', '.join(file.schema_arrow.names)}).",
                        "Set photograph_columns to the columns that hold image id, subset and encoded photograph.",
                    )
                yield file
        except (pa.ArrowInvalid, pa.ArrowException, EOFError) as error:
            raise DataError(f"{uri} cannot be read as Parquet: {error}", "Write or download the file again.") from error

    def _keys(self, file: pq.ParquetFile, row_group: int) -> list[Key]:
        names = [self.columns.subset, self.columns.image_id]
        ids = file.read_row_group(row_group, columns=names, use_threads=False)
        subsets, image_ids = (ids.column(name).cast(pa.string()).to_pylist() for name in names)
        return [Key(subset or "", image_id or "") for subset, image_id in zip(subsets, image_ids, strict=True)]
