"""Access to the photographs of a release: read one, list all, and compute a digest of their state."""

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
    """A photograph in a listing: its subset, its image id, and its state, which is size and time (or etag) as text."""

    subset: str
    image_id: str
    state: str


class Photographs(Protocol):
    """A place that holds the photographs of a release.

    To add another kind of source, implement this protocol and add a line to `open_photographs`. Spark pickles the
    object and sends it to its workers, so it must not hold a connection.
    """

    @property
    def uri(self) -> str:
        """The location, as shown in messages."""

    def exists(self) -> bool:
        """Return whether the place exists, as far as can be determined without reading a photograph."""

    def missing(self) -> tuple[str, ...]:
        """Return the subsets that are known to have no photographs in this place."""

    def list(self) -> Iterator[Listed]:
        """List all photographs, in any order.

        Raises:
            DataError: The place cannot be listed.
        """

    def read(self, subset: str, image_id: str) -> bytes:
        """Return one photograph, encoded.

        Raises:
            FileNotFoundError: The photograph does not exist.
        """

    def digest(self) -> str:
        """Return a digest that changes when a photograph is added, removed or replaced, if such changes are visible."""


@dataclass(frozen=True)
class FolderPhotographs:
    """Photographs in a folder of any file system or object store that fsspec supports."""

    uri: str

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

    def read(self, subset: str, image_id: str) -> bytes:
        """Return one photograph, encoded."""
        return storage.read_bytes(f"{self.uri}/{photograph_name(subset, image_id)}")

    def digest(self) -> str:
        """Return a digest of path, size and time (or etag) of every photograph."""
        return listing_digest(self.list())


@dataclass(frozen=True)
class HttpPhotographs:
    """Photographs behind HTTP or HTTPS, which can be read but not listed."""

    uri: str

    def exists(self) -> bool:
        """Return True, since there is no folder to look for."""
        return True

    def missing(self) -> tuple[str, ...]:
        """Return an empty tuple, since there are no folders to look for."""
        return ()

    def list(self) -> Iterator[Listed]:
        """Raise an error, since HTTP has no listings."""
        raise DataError(f"The photographs at {self.uri} cannot be listed.", "Use a folder that holds them.")

    def read(self, subset: str, image_id: str) -> bytes:
        """Return one photograph, encoded."""
        return storage.read_bytes(f"{self.uri}/{photograph_name(subset, image_id)}")

    def digest(self) -> str:
        """Return a digest of the address alone."""
        return hashlib.sha256(self.uri.encode()).hexdigest()


def open_photographs(uri: str) -> Photographs:
    """Return the photographs at a path, a URI or an HTTP(S) address."""
    uri = storage.normalize(uri)
    return HttpPhotographs(uri) if uri.startswith(("http://", "https://")) else FolderPhotographs(uri)


def photograph_name(subset: str, image_id: str) -> str:
    """Return a photograph's path relative to the folder of all photographs, as in the published release."""
    return f"{subset}/{image_id}{SUFFIX}"


def listing_digest(listing: Iterable[Listed]) -> str:
    """Return one digest of a listing of photographs.

    It is the sum of a digest per photograph, so it depends on no order and takes no memory for millions of them.
    """
    total = 0
    for subset, image_id, state in listing:
        line = f"{photograph_name(subset, image_id)} {state}"
        total = (total + int.from_bytes(hashlib.sha256(line.encode()).digest())) % (1 << 256)
    return f"{total:064x}"
