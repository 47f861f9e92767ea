"""Pack a folder of photographs into Parquet files or tar archives, since many small files slow HDFS down."""

from __future__ import annotations

import io
import logging
import tarfile
from collections.abc import Iterator
from contextlib import closing
from typing import IO, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from ml import disk, storage
from ml.errors import ConfigurationError, DataError
from ml.flow.record import Record
from ml.photographs.files import FolderPhotographs
from ml.photographs.opening import NOTE, open_photographs
from ml.photographs.read_ahead import read_ahead
from ml.photographs.source import NOTEBOOK, Key, photograph_name

log = logging.getLogger(__name__)

ADVICE = "Name a folder that holds train, validation and test, each with its <ImageID>.jpg."
SCHEMA = pa.schema([(NOTEBOOK.image_id, pa.string()), (NOTEBOOK.subset, pa.string()), (NOTEBOOK.data, pa.binary())])


class PackNote(Record):
    """The content of `pack.json`, which tells whether the shards beside it are all there.

    Attributes:
        complete: All photographs are packed.
        photographs: Number of photographs.
        bytes: Bytes of all photographs.
        shards: Number of shards.
        absent: Number of photographs that were listed and were gone when their turn came.
    """

    complete: bool
    photographs: int = 0
    bytes: int = 0
    shards: int = 0
    absent: int = 0


class Sizes(NamedTuple):
    """The sizes of what is packed, in bytes.

    Attributes:
        shard: At which a shard is full.
        row_group: At which a row group of a Parquet file is full; a task holds no more than one in memory.
    """

    shard: int = 256 << 20
    row_group: int = 16 << 20


PACKED = Sizes()


class ShardWriter(Protocol):
    """A writer of one shard."""

    def add(self, key: Key, content: bytes) -> None:
        """Add a photograph."""

    def close(self) -> None:
        """Complete the shard."""


class ParquetShard:
    """A Parquet file of photographs, written a row group at a time."""

    def __init__(self, file: IO[bytes], sizes: Sizes) -> None:
        # JPEG files cannot be compressed further.
        compression = {name: "NONE" if name == NOTEBOOK.data else "ZSTD" for name in SCHEMA.names}
        self._writer = pq.ParquetWriter(
            file, SCHEMA, compression=compression, use_dictionary=[NOTEBOOK.subset], write_statistics=SCHEMA.names[:2]
        )
        self._limit = sizes.row_group
        self._rows: list[tuple[Key, bytes]] = []
        self._bytes = 0

    def add(self, key: Key, content: bytes) -> None:
        """Add a photograph, and write the row group if it is full."""
        self._rows.append((key, content))
        self._bytes += len(content)
        if self._bytes >= self._limit:
            self._write()

    def close(self) -> None:
        """Write the last row group and the footer."""
        if self._rows:
            self._write()
        self._writer.close()

    def _write(self) -> None:
        columns = [
            [key.image_id for key, _ in self._rows],
            [key.subset for key, _ in self._rows],
            [content for _, content in self._rows],
        ]
        self._writer.write_table(pa.table(columns, schema=SCHEMA), row_group_size=len(self._rows))
        self._rows, self._bytes = [], 0


class TarShard:
    """A tar archive of photographs, with the same bytes for the same photographs."""

    def __init__(self, file: IO[bytes], sizes: Sizes) -> None:
        self._archive = tarfile.TarFile(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT)

    def add(self, key: Key, content: bytes) -> None:
        """Add a photograph as `<subset>/<ImageID>.jpg`."""
        member = tarfile.TarInfo(photograph_name(*key))
        member.size, member.mode = len(content), 0o644
        self._archive.addfile(member, io.BytesIO(content))

    def close(self) -> None:
        """Write the end of the archive."""
        self._archive.close()


WRITERS: dict[str, type[ParquetShard] | type[TarShard]] = {"parquet": ParquetShard, "tar": TarShard}


def pack(folder: str, out: str, form: str, sizes: Sizes = PACKED) -> PackNote:
    """Pack the photographs of a folder.

    Args:
        folder: The folder that holds train, validation and test.
        out: The folder to write. What an interrupted `pack` left there is replaced.
        form: `parquet`, with the columns of the original notebook's table, or `tar`.
        sizes: When a shard and a row group are full.

    Raises:
        ConfigurationError: `out` holds photographs already.
        DataError: The folder holds no photographs, or they are packed already.
    """
    source, target = open_photographs(folder), storage.normalize(out)
    if not isinstance(source, FolderPhotographs):
        raise DataError(f"{source.uri} is not a folder of single photographs.", ADVICE)
    _clear(target)
    listed = {Key(each.subset, each.image_id): int(each.state.split()[0]) for each in source.list()}
    if not listed:
        raise DataError(f"{source.uri} holds no photographs.", ADVICE)
    disk.check_space(target, sum(listed.values()), f"{len(listed):,} photographs")
    note_uri = storage.join(target, NOTE)
    storage.write_json(note_uri, PackNote(complete=False).json_values())
    done = {"photographs": 0, "bytes": 0, "shards": 0, "absent": 0}
    packing = _Packing(target, form, sizes)
    for key, content in read_ahead(sorted(listed), lambda key: source.read(*key)):
        try:
            data = content()
        except FileNotFoundError:
            done["absent"] += 1
            log.warning("%s is gone", photograph_name(*key))
            continue
        packing.add(key, data)
        done["photographs"] += 1
        done["bytes"] += len(data)
    packing.close()
    note = PackNote(complete=True, **{**done, "shards": packing.shards})
    storage.write_json(note_uri, note.json_values())
    return note


class _Packing:
    """The shards of a folder, one after the other; each holds photographs of one subset."""

    def __init__(self, target: str, form: str, sizes: Sizes) -> None:
        self.shards = 0
        self._target, self._form, self._sizes = target, form, sizes
        self._subset = ""
        self._bytes = 0
        self._file: IO[bytes] | None = None
        self._writer: ShardWriter | None = None

    def add(self, key: Key, content: bytes) -> None:
        """Add a photograph to the present shard, or to a new one if that is full or of another subset."""
        if self._writer is None or self._subset != key.subset or self._bytes >= self._sizes.shard:
            self.close()
            self._open(key.subset)
        assert self._writer is not None
        self._writer.add(key, content)
        self._bytes += len(content)

    def close(self) -> None:
        """Complete the present shard."""
        if self._writer is not None and self._file is not None:
            with closing(self._file):
                self._writer.close()
        self._writer = self._file = None

    def _open(self, subset: str) -> None:
        fs, path = storage.filesystem(storage.join(self._target, f"{subset}-{self.shards:05d}.{self._form}"))
        fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._file = fs.open(path, "wb")
        self._writer = WRITERS[self._form](self._file, self._sizes)
        self._subset, self._bytes = subset, 0
        self.shards += 1


def _clear(target: str) -> None:
    """Remove the shards that an interrupted `pack` left.

    Raises:
        ConfigurationError: The folder holds photographs of another origin, or packed completely.
    """
    note = storage.join(target, NOTE)
    if storage.exists(note) and not PackNote.model_validate(storage.read_json(note)).complete:
        for shard in shard_uris(target):
            storage.remove(shard)
        storage.remove(note)
    if storage.exists(target) and open_photographs(target).exists() and _holds_photographs(target):
        raise ConfigurationError(f"{target} holds photographs already.", "Name another folder.")


def _holds_photographs(target: str) -> bool:
    source = open_photographs(target)
    return bool(source.shards()) or next(iter(source.list()), None) is not None


def shard_uris(target: str) -> Iterator[str]:
    """Yield the URIs of the shards in a folder."""
    fs, path = storage.filesystem(target)
    for name in fs.ls(path, detail=False):
        if str(name).endswith(tuple(f".{form}" for form in WRITERS)):
            yield storage.normalize(fs.unstrip_protocol(name))
