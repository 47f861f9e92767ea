"""Read features as a stream of batches from Parquet shards, in constant memory and without TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ml import storage
from ml.errors import DataError, PreprocessingError
from ml.features.record import FeaturesRecord
from ml.guards import check_channel_sums, check_pixels
from ml.workflow.manifest import Manifest

READ_ROWS = 256  # rows that Arrow returns at a time
READ_BUFFER = 4 << 20  # bytes; without it Arrow reads the whole column of a row group, often 128 MB, at once
BLOCK_BYTES = 64 << 20  # bytes of pixels that are shuffled together


@dataclass(frozen=True)
class Batch:
    """A batch of faces.

    Attributes:
        pixels: uint8 RGB, shape (n, chip_size, chip_size, 3), 0..255.
        labels: int64, shape (n,): each face's index in the order of the labels.
        columns: The further columns of the reader, each of shape (n,).
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    columns: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> Batch:
        """Return a copy of the given rows."""
        return Batch(self.pixels[rows], self.labels[rows], {name: c[rows] for name, c in self.columns.items()})


def split_table(split: str) -> str:
    """Return the folder of a split's shards in a features attempt, as named by Spark's `partitionBy`."""
    return f"features/split={split}"


class FeatureReader:
    """A stream of the faces of one split of a features attempt.

    Args:
        manifest: The features attempt.
        split: `train`, `validation` or `test`.
        columns: Further columns to read, such as `face_id` or `face_px`.
        seed: Seed of the order of shuffled passes.
        excluded: Ids of faces to leave out, from counts and checks too.

    Attributes:
        rows: Number of faces according to the manifest, without the excluded ones.
        stated: The record of the features in the manifest.
        chip_size: Width and height of the chips in pixels.
        labels: The labels in order.
        faces: Number of faces of each label, likewise, in the order of the labels.
    """

    def __init__(
        self,
        manifest: Manifest,
        split: str,
        columns: tuple[str, ...] = (),
        seed: int = 0,
        excluded: Collection[str] = (),
    ) -> None:
        self.manifest = manifest
        self.split = split
        self.seed = seed
        self.stated = manifest.record(FeaturesRecord)
        self.chip_size = self.stated.chip_size
        self.labels = self.stated.labels
        self._columns = columns
        self._excluded: pa.Array | None = None
        left_out = _Tally(len(self.labels))
        if excluded:
            for batch in self.find(excluded):
                left_out.add(batch)
            self._excluded = pa.array(sorted(excluded), pa.string())
        self.rows = manifest.rows(split_table(split)) - int(left_out.faces.sum())
        faces = np.array([self.stated.faces[split][label] for label in self.labels], np.int64)
        self.faces = (faces - left_out.faces).tolist()
        self._sums = np.array(self.stated.channel_sums[split], np.uint64) - left_out.sums.sum(axis=0)
        label_sums = [self.stated.label_sums[split][label] for label in self.labels]
        self._label_sums = np.array(label_sums, np.uint64) - left_out.sums

    def steps(self, batch_size: int) -> int:
        """Return the number of batches in one pass."""
        return math.ceil(self.rows / batch_size)

    def batches(self, batch_size: int, epoch: int | None = None) -> Iterator[Batch]:
        """Read every face once.

        The batches of a pass differ in size by at most one face: a last batch of one or two faces would distort the
        statistics of batch normalization.

        Args:
            batch_size: Maximum number of faces in a batch.
            epoch: The epoch, which together with the seed determines the order of shards, of row groups in a shard, and
                of faces within blocks of 64 MB. By default faces come in the stored order.

        Raises:
            DataError: The shards differ from the manifest, or a label is invalid.
            PreprocessingError: A chip has the wrong size.
        """
        random = None if epoch is None else np.random.default_rng((self.seed, epoch))
        rows = max(batch_size, BLOCK_BYTES // (self.chip_size**2 * 3)) if random else batch_size
        sizes = _even_sizes(self.rows, self.steps(batch_size))
        size = next(sizes, None)
        rest: list[Batch] = []
        for block in _blocks(self._chunks(random), rows):
            block = _join([*rest, block])
            order = random.permutation(len(block)) if random else np.arange(len(block))
            start = 0
            while size is not None and start + size <= len(block):
                yield block.take(order[start : start + size])
                start += size
                size = next(sizes, None)
            rest = [block.take(order[start:])]
        if size is not None or any(len(batch) for batch in rest):
            raise DataError(
                f"Table {self.split} of {self.manifest.uri} does not hold the {self.rows} rows its manifest states.",
                "Remove the attempt and run stage featurize again.",
            )

    def find(self, face_ids: Collection[str]) -> Iterator[Batch]:
        """Yield the faces with these ids; read pixels only from the row groups that hold some of them."""
        wanted = pa.array(sorted(face_ids), pa.string())
        columns = self._read_columns("face_id")
        for shard in self.manifest.table(split_table(self.split)):
            with _open(shard, columns) as parquet:
                for group in range(parquet.num_row_groups):
                    ids = parquet.read_row_group(group, ["face_id"]).column("face_id")
                    if pc.any(pc.is_in(ids, wanted)).as_py():
                        for rows in parquet.iter_batches(READ_ROWS, [group], columns):
                            if len(found := rows.filter(pc.is_in(rows.column("face_id"), wanted))):
                                yield self._batch(found, shard)

    def checked_batches(self, batch_size: int, epoch: int | None = None) -> Iterator[Batch]:
        """Read every face once as `batches` does, and check that the pixels and labels are those that Spark wrote.

        The last batch is held back until the whole pass is checked, so that a consumer that counts batches, as Keras
        does, gets the error too.

        Raises:
            PreprocessingError: A batch is not raw uint8 chips. Before the last batch: the channel sums of all faces, or
                of the faces of a label, differ from the manifest.
            DataError: As `batches`. Before the last batch: the number of faces of a label differs from the manifest.
        """
        held: Batch | None = None
        tally = _Tally(len(self.labels))
        for batch in self.batches(batch_size, epoch):
            check_pixels(batch.pixels, self.chip_size)
            tally.add(batch)
            if held is not None:
                yield held
            held = batch
        where = f"Table {self.split} of {self.manifest.uri}"
        check_channel_sums(self._sums.tolist(), tally.sums.sum(axis=0).tolist(), where)
        if tally.faces.tolist() != self.faces:
            raise DataError(
                f"{where} holds {tally.faces.tolist()} faces of {list(self.labels)}, but its manifest states "
                f"{self.faces}.",
                "Remove the attempt and run stage featurize again.",
            )
        # If pixels are paired with another face's label, the channel sums of the labels change.
        for label, stated, found in zip(self.labels, self._label_sums.tolist(), tally.sums.tolist(), strict=True):
            check_channel_sums(stated, found, f"{where}, faces labeled {label}")
        if held is not None:
            yield held

    def _chunks(self, random: np.random.Generator | None) -> Iterator[Batch]:
        """Yield the faces as Arrow returns them, without copying their pixels."""
        shards = self.manifest.table(split_table(self.split))
        columns = self._read_columns(*(() if self._excluded is None else ("face_id",)))
        for shard in random.permutation(len(shards)) if random else range(len(shards)):
            with _open(shards[shard], columns) as parquet:
                groups = range(parquet.num_row_groups)
                for group in random.permutation(groups) if random else groups:
                    for rows in parquet.iter_batches(READ_ROWS, [int(group)], columns):
                        if self._excluded is not None:
                            rows = rows.filter(pc.invert(pc.is_in(rows.column("face_id"), self._excluded)))
                        if len(rows):
                            yield self._batch(rows, shards[shard])

    def _read_columns(self, *further: str) -> list[str]:
        return list(dict.fromkeys(("pixels", "label", *self._columns, *further)))

    def _batch(self, rows: pa.RecordBatch, shard: str) -> Batch:
        labels = rows.column("label").to_numpy(zero_copy_only=False)
        if not np.isin(labels, range(len(self.labels))).all():  # NULL is read as NaN and fails too
            raise DataError(f"{shard} holds a label outside 0..{len(self.labels) - 1}.", "Run stage featurize again.")
        columns = {name: rows.column(name).to_numpy(zero_copy_only=False) for name in self._columns}
        return Batch(chips(rows.column("pixels"), self.chip_size), labels.astype(np.int64), columns)


class _Tally:
    """The number of faces and the channel sums by label, added up batch by batch."""

    def __init__(self, labels: int) -> None:
        self.faces = np.zeros(labels, np.int64)
        self.sums = np.zeros((labels, 3), np.uint64)

    def add(self, batch: Batch) -> None:
        """Add a batch."""
        self.faces += np.bincount(batch.labels, minlength=len(self.faces))
        for index in range(len(self.faces)):
            self.sums[index] += channel_sums(batch.pixels[batch.labels == index])


def chips(pixels: pa.Array, chip_size: int) -> NDArray[np.uint8]:
    """View an Arrow column of raw chips as one array, without a copy.

    Args:
        pixels: Binary values of chip_size * chip_size * 3 bytes each: uint8 RGB, row by row.
        chip_size: Width and height of the chips in pixels.

    Returns:
        uint8, shape (n, chip_size, chip_size, 3); valid as long as the column's buffer.

    Raises:
        PreprocessingError: A value is NULL or has the wrong length.
    """
    offset_type = np.int64 if pa.types.is_large_binary(pixels.type) else np.int32
    _, offsets_buffer, data = pixels.buffers()
    offsets = np.frombuffer(offsets_buffer, offset_type)[pixels.offset : pixels.offset + len(pixels) + 1]
    length = chip_size * chip_size * 3
    if pixels.null_count or (np.diff(offsets) != length).any():
        raise PreprocessingError(
            f"A chip does not have the {length} bytes of {chip_size} x {chip_size} RGB pixels.",
            "Run stage featurize again.",
        )
    return np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]].reshape(-1, chip_size, chip_size, 3)


def channel_sums(pixels: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the exact sums of red, green and blue of chips of shape (n, height, width, 3)."""
    count, height, width, _ = pixels.shape
    # Summing rows first is 20 times faster than summing three axes at once. uint32 suffices for 16 million rows.
    columns = pixels.reshape(count * height, width * 3).sum(axis=0, dtype=np.uint32)
    sums: NDArray[np.uint64] = columns.reshape(width, 3).sum(axis=0, dtype=np.uint64)
    return sums


@contextmanager
def _open(shard: str, columns: Collection[str]) -> Iterator[pq.ParquetFile]:
    """Open a shard that has the given columns.

    Raises:
        DataError: It lacks one.
    """
    with storage.open_read(shard) as file:
        parquet = pq.ParquetFile(file, buffer_size=READ_BUFFER)
        if missing := set(columns) - set(parquet.schema_arrow.names):
            raise DataError(f"{shard} has no column {', '.join(sorted(missing))}.", "Run stage featurize again.")
        yield parquet


def _blocks(chunks: Iterator[Batch], rows: int) -> Iterator[Batch]:
    held: list[Batch] = []
    for chunk in chunks:
        held.append(chunk)
        if sum(map(len, held)) >= rows:
            yield _join(held)
            held = []
    if held:
        yield _join(held)


def _join(batches: list[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    columns = {name: np.concatenate([b.columns[name] for b in batches]) for name in batches[0].columns}
    pixels = np.concatenate([b.pixels for b in batches])
    return Batch(pixels, np.concatenate([b.labels for b in batches]), columns)


def _even_sizes(rows: int, parts: int) -> Iterator[int]:
    for part in range(parts):
        yield rows * (part + 1) // parts - rows * part // parts


def present_columns(features: Manifest, table: str, wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the wanted columns that a table of a features attempt has; older attempts lack some."""
    shards = features.table(table)
    if not shards:
        return ()
    with storage.open_read(shards[0]) as file:
        names = set(pq.read_schema(file).names)
    return tuple(name for name in wanted if name in names)
