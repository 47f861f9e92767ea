"""Photographs that are files of their own: in a folder, or behind HTTP."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Container, Iterator
from dataclasses import dataclass

from fsspec.implementations.local import LocalFileSystem

from ml import storage
from ml.errors import DataError
from ml.photographs.source import SUBSETS, SUFFIX, Key, Listed, Shard, listing_digest, photograph_name
from ml.storage import modified


@dataclass(frozen=True)
class PhotographFiles:
    """What all sources of single files have in common."""

    uri: str

    def read(self, subset: str, image_id: str) -> bytes:
        """Return one photograph, encoded."""
        return storage.read_bytes(f"{self.uri}/{photograph_name(subset, image_id)}")

    def shards(self) -> tuple[Shard, ...]:
        """Return an empty tuple, since each photograph is a file of its own."""
        return ()

    def read_shard(self, shard: Shard, wanted: Container[Key] | None) -> Iterator[tuple[Key, bytes]]:
        """Raise an error, since there are no shards."""
        raise NotImplementedError(f"{self.uri} has no shards")


@dataclass(frozen=True)
class FolderPhotographs(PhotographFiles):
    """Photographs in a folder of any file system or object store that fsspec supports."""

    def exists(self) -> bool:
        """Return whether the folder exists."""
        return storage.exists(self.uri)

    def missing(self) -> tuple[str, ...]:
        """Return the subsets without a folder."""
        return tuple(subset for subset in SUBSETS if not storage.exists(storage.join(self.uri, subset)))

    def list(self) -> Iterator[Listed]:
        """List all photographs, in any order."""
        fs, path = storage.filesystem(self.uri)
        for subset in SUBSETS:
            folder = f"{path}/{subset}"
            if not fs.exists(folder):
                continue
            if isinstance(fs, LocalFileSystem):
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.name.endswith(SUFFIX):
                            try:
                                stat = entry.stat()
                            except FileNotFoundError:  # a link to nothing: the photograph is absent
                                continue
                            state = f"{stat.st_size} {stat.st_mtime_ns}"
                            yield Listed(subset, entry.name.removesuffix(SUFFIX), state)
            else:
                for info in fs.ls(folder, detail=True):
                    name = info["name"].rsplit("/", 1)[-1]
                    if name.endswith(SUFFIX):
                        yield Listed(subset, name.removesuffix(SUFFIX), f"{info['size']} {modified(info)}")

    def digest(self) -> str:
        """Return a digest of path, size and time (or etag) of every photograph."""
        return listing_digest(self.list())


@dataclass(frozen=True)
class HttpPhotographs(PhotographFiles):
    """Photographs behind HTTP or HTTPS, which can be read but not listed."""

    def exists(self) -> bool:
        """Return True, since there is no folder to look for."""
        return True

    def missing(self) -> tuple[str, ...]:
        """Return an empty tuple, since there are no folders to look for."""
        return ()

    def list(self) -> Iterator[Listed]:
        """Raise an error, since HTTP has no listings."""
        raise DataError(f"The photographs at {self.uri} cannot be listed.", "Use a folder that holds them.")

    def digest(self) -> str:
        """Return a digest of the address alone."""
        return hashlib.sha256(self.uri.encode()).hexdigest()
