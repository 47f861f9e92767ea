"""Where the photographs of a release lie: how one is read, how all are listed, and the digest of their state."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from fsspec.implementations.local import LocalFileSystem

from ml import storage
from ml.errors import DataError
from ml.release.layout import SUBSETS
from ml.storage import modified

SUFFIX = ".jpg"


class Listed(NamedTuple):
    """A photograph that is there: its subset, its image id, and its size with its time (or etag) as text."""

    subset: str
    image_id: str
    state: str


class Photographs(Protocol):
    """A place that holds the photographs of a release.

    Another source of photographs is another implementation and its line in `open_photographs`. Spark sends it to its
    workers, so it holds no connection.
    """

    @property
    def uri(self) -> str:
        """The place, as messages name it."""

    def exists(self) -> bool:
        """Return whether the place is there, as far as that can be seen without reading a photograph."""

    def missing(self) -> tuple[str, ...]:
        """Return the subsets for which the place can be seen to hold no photographs."""

    def list(self) -> Iterator[Listed]:
        """List all photographs, in no order.

        Raises:
            DataError: The place cannot be listed.
        """

    def read(self, subset: str, image_id: str) -> bytes:
        """Return one photograph, encoded.

        Raises:
            FileNotFoundError: It is not there.
        """

    def digest(self) -> str:
        """Return a digest that changes when a photograph is added, removed or replaced, as far as that can be seen."""


@dataclass(frozen=True)
class FolderPhotographs:
    """Photographs in a folder of any file system or object store that fsspec knows."""

    uri: str

    def exists(self) -> bool:
        """Return whether the folder is there."""
        return storage.exists(self.uri)

    def missing(self) -> tuple[str, ...]:
        """Return the subsets without a folder."""
        return tuple(subset for subset in SUBSETS if not storage.exists(storage.join(self.uri, subset)))

    def list(self) -> Iterator[Listed]:
        """List all photographs, in no order."""
        fs, path = storage.filesystem(self.uri)
        for subset in SUBSETS:
            folder = f"{path}/{subset}"
            if not fs.exists(folder):
                continue
            if isinstance(fs, LocalFileSystem):
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.name.endswith(SUFFIX):
                            stat = entry.stat()
                            state = f"{stat.st_size} {stat.st_mtime_ns}"
                            yield Listed(subset, entry.name.removesuffix(SUFFIX), state)
            else:
                for info in fs.ls(folder, detail=True):
                    name = info["name"].rsplit("/", 1)[-1]
                    if name.endswith(SUFFIX):
                        yield Listed(subset, name.removesuffix(SUFFIX), f"{info['size']} {modified(info)}")

    def read(self, subset: str, image_id: str) -> bytes:
        """Return one photograph, encoded."""
        return storage.read_bytes(f"{self.uri}/{photograph_name(subset, image_id)}")

    def digest(self) -> str:
        """Return a digest of path, size and time (or etag) of every photograph."""
        return listing_digest(self.list())


@dataclass(frozen=True)
class HttpPhotographs:
    """Photographs behind http or https, which can be read but not listed."""

    uri: str

    def exists(self) -> bool:
        """Return True: there is no folder to look for."""
        return True

    def missing(self) -> tuple[str, ...]:
        """Return nothing: there are no folders to look for."""
        return ()

    def list(self) -> Iterator[Listed]:
        """Refuse: http has no listing."""
        raise DataError(f"The photographs at {self.uri} cannot be listed.", "Name a folder that holds them.")

    def read(self, subset: str, image_id: str) -> bytes:
        """Return one photograph, encoded."""
        return storage.read_bytes(f"{self.uri}/{photograph_name(subset, image_id)}")

    def digest(self) -> str:
        """Return a digest of the address alone."""
        return hashlib.sha256(self.uri.encode()).hexdigest()


def open_photographs(uri: str) -> Photographs:
    """Return the photographs that lie at a path, URI or http(s) address."""
    uri = storage.normalize(uri)
    return HttpPhotographs(uri) if uri.startswith(("http://", "https://")) else FolderPhotographs(uri)


def photograph_name(subset: str, image_id: str) -> str:
    """Return where a photograph lies below the place that holds all, as in the published release."""
    return f"{subset}/{image_id}{SUFFIX}"


def listing_digest(listing: Iterable[Listed]) -> str:
    """Return one digest of listed photographs.

    The photographs' own digests are summed, so that millions of them need neither order nor memory.
    """
    total = 0
    for subset, image_id, state in listing:
        line = f"{photograph_name(subset, image_id)} {state}"
        total = (total + int.from_bytes(hashlib.sha256(line.encode()).digest())) % (1 << 256)
    return f"{total:064x}"
