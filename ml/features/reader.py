"""Read features as a stream of batches from Parquet shards, in constant memory and without TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
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

    Attributes:
        rows: Number of faces according to the manifest.
        stated: The record of the features in the manifest.
        chip_size: Width and height of the chips in pixels.
        labels: The labels in order.
        faces: Number of faces of each label according to the manifest, in the order of the labels.
    """

    def __init__(self, manifest: Manifest, split: str, columns: tuple[str, ...] = (), seed: int = 0) -> None:
        self.manifest = manifest
        self.split = split
        self.seed = seed
        self.rows = manifest.rows(split_table(split))
        self.stated = manifest.record(FeaturesRecord)
        self.chip_size = self.stated.chip_size
        self.labels = self.stated.labels
        self.faces = [self.stated.faces[split][label] for label in self.labels]
        self._columns = columns

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
        sums = np.zeros((len(self.labels), 3), np.uint64)
        faces = np.zeros(len(self.labels), np.int64)
        for batch in self.batches(batch_size, epoch):
            check_pixels(batch.pixels, self.chip_size)
            for index in range(len(self.labels)):
                sums[index] += channel_sums(batch.pixels[batch.labels == index])
            faces += np.bincount(batch.labels, minlength=len(self.labels))
            if held is not None:
                yield held
            held = batch
        where = f"Table {self.split} of {self.manifest.uri}"
        check_channel_sums(self.stated.channel_sums[self.split], sums.sum(axis=0).tolist(), where)
        if faces.tolist() != self.faces:
            raise DataError(
                f"{where} holds {faces.tolist()} faces of {list(self.labels)}, but its manifest states {self.faces}.",
                "Remove the attempt and run stage featurize again.",
            )
        # If pixels are paired with another face's label, the channel sums of the labels change.
        for label, found in zip(self.labels, sums.tolist(), strict=True):
            check_channel_sums(self.stated.label_sums[self.split][label], found, f"{where}, faces labeled {label}")
        if held is not None:
            yield held

    def _chunks(self, random: np.random.Generator | None) -> Iterator[Batch]:
        """Yield the faces as Arrow returns them, without copying their pixels."""
        columns = ["pixels", "label", *self._columns]
        shards = self.manifest.table(split_table(self.split))
        for shard in random.permutation(len(shards)) if random else range(len(shards)):
            fs, path = storage.filesystem(shards[shard])
            with fs.open(path, "rb") as file:
                parquet = pq.ParquetFile(file, buffer_size=READ_BUFFER)
                if missing := set(columns) - set(parquet.schema_arrow.names):
                    raise DataError(
                        f"{shards[shard]} has no column {', '.join(sorted(missing))}.", "Run stage featurize again."
                    )
                groups = range(parquet.num_row_groups)
                for group in random.permutation(groups) if random else groups:
                    for rows in parquet.iter_batches(READ_ROWS, [int(group)], columns):
                        if len(rows):
                            yield self._batch(rows, shards[shard])

    def _batch(self, rows: pa.RecordBatch, shard: str) -> Batch:
        labels = rows.column("label").to_numpy(zero_copy_only=False)
        if not np.isin(labels, range(len(self.labels))).all():  # NULL is read as NaN and fails too
            raise DataError(f"{shard} holds a label outside 0..{len(self.labels) - 1}.", "Run stage featurize again.")
        columns = {name: rows.column(name).to_numpy(zero_copy_only=False) for name in self._columns}
        return Batch(chips(rows.column("pixels"), self.chip_size), labels.astype(np.int64), columns)


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
    fs, path = storage.filesystem(shards[0])
    with fs.open(path, "rb") as file:
        names = set(pq.read_schema(file).names)
    return tuple(name for name in wanted if name in names)
