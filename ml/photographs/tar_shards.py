"""Photographs in tar archives, as the published ones (`train_0.tar.gz`) and those of WebDataset."""

from __future__ import annotations

import posixpath
import tarfile
import zlib
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ml import storage
from ml.errors import DataError
from ml.photographs.shard_files import COMPRESSED, TAR, ShardedPhotographs, find_wanted
from ml.photographs.source import SUBSETS, Key, Shard

SUFFIXES = (".jpg", ".jpeg")


@dataclass(frozen=True)
class TarPhotographs(ShardedPhotographs):
    """Photographs in a tar archive, or in the tar archives of a folder.

    A member `train/<ImageID>.jpg` or `train_0/<ImageID>.jpg` is in the subset train. If no folder tells the subset, the
    archive's name does, such as `train-000000.tar`. Members other than JPEG files are skipped.
    """

    SUFFIXES = TAR

    def shards(self) -> tuple[Shard, ...]:
        """Return the archives."""
        return tuple(Shard(uri) for uri in self.files())

    def keys(self, shard: Shard) -> Iterator[Key]:
        """Yield the keys of an archive's photographs; a compressed archive is read from start to end for that."""
        with _open(shard.uri) as archive:
            for member in archive:
                if key := _key(member, shard.uri):
                    yield key

    def read_shard(self, shard: Shard, wanted: Container[Key] | None) -> Iterator[tuple[Key, bytes]]:
        """Yield the wanted photographs of an archive."""
        with _open(shard.uri) as archive:
            for member in archive:
                found = _key(member, shard.uri)
                if found and (key := find_wanted(*found, wanted)) and (file := archive.extractfile(member)):
                    yield key, file.read()


@contextmanager
def _open(uri: str) -> Iterator[tarfile.TarFile]:
    """Open an archive; one without compression is not read where it is skipped."""
    try:
        with (
            storage.open_read(uri) as source,
            tarfile.open(fileobj=source, mode="r|gz" if uri.endswith(COMPRESSED) else "r:") as archive,
        ):
            yield archive
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(
            f"{uri} cannot be read as a tar archive: {error}", "Write or download the archive again."
        ) from error


def _key(member: tarfile.TarInfo, uri: str) -> Key | None:
    """Return the key of a member, with an empty subset if neither path nor archive tells it; None if it is no JPEG."""
    name = posixpath.basename(member.name)
    if not member.isfile() or name.startswith(".") or not name.lower().endswith(SUFFIXES):
        return None
    places = (*reversed(posixpath.dirname(member.name).split("/")), posixpath.basename(uri))
    subset = next((subset for place in places for subset in SUBSETS if place.startswith(subset)), "")
    return Key(subset, name.partition(".")[0])
