"""Photographs packed into shards: files that hold many photographs each."""

from __future__ import annotations

import abc
import functools
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import ClassVar

from ml import storage
from ml.errors import DataError
from ml.photographs.source import SUBSETS, Key, Listed, Shard, digest_of, photograph_name
from ml.storage import modified

PARQUET = (".parquet",)
COMPRESSED = (".tar.gz", ".tgz")
TAR = (".tar", *COMPRESSED)


@dataclass(frozen=True)
class ShardedPhotographs(abc.ABC):
    """What all sources of shards have in common.

    Attributes:
        uri: A folder that holds the shards, or one shard.
    """

    SUFFIXES: ClassVar[tuple[str, ...]]

    uri: str

    def exists(self) -> bool:
        """Return whether there is a shard."""
        return bool(self.files())

    def missing(self) -> tuple[str, ...]:
        """Return an empty tuple, since only reading all shards could tell."""
        return ()

    def files(self) -> dict[str, str]:
        """Return the state of each shard's file by URI: size and time (or etag) as text."""
        fs, path = storage.filesystem(self.uri)
        if not fs.exists(path):
            return {}
        found = fs.ls(path, detail=True) if fs.isdir(path) else [fs.info(path)]
        return {
            storage.normalize(fs.unstrip_protocol(info["name"])): f"{info['size']} {modified(info)}"
            for info in sorted(found, key=lambda info: str(info["name"]))
            if is_shard(info["name"], self.SUFFIXES)
        }

    def read(self, subset: str, image_id: str) -> bytes:
        """Return one photograph, encoded; the first call in a process looks through all shards."""
        key = Key(subset, image_id)
        place = _places(self).get(key) or _places(self).get(Key("", image_id))
        if place is not None:
            for _, content in self.read_shard(place, {key}):
                return content
        raise FileNotFoundError(f"{photograph_name(subset, image_id)} is in no shard of {self.uri}")

    def list(self) -> Iterator[Listed]:
        """List all photographs; the state of a photograph is that of its shard."""
        states = self.files()
        for shard in self.shards():
            name = shard.uri.rpartition("/")[2]
            for subset, image_id in self.keys(shard):
                if not subset:
                    raise DataError(
                        f"The subset of photograph {image_id} in {shard.uri} is not known.",
                        f"Put it in a folder {', '.join(SUBSETS)} of the archive, or begin the archive's name with it.",
                    )
                yield Listed(subset, image_id, f"{name} {states.get(shard.uri, '')}")

    def digest(self) -> str:
        """Return a digest of name, size and time (or etag) of every shard."""
        return digest_of((uri.removeprefix(self.uri), state) for uri, state in self.files().items())

    @abc.abstractmethod
    def shards(self) -> tuple[Shard, ...]:
        """Return the shards, in the order of their names."""

    @abc.abstractmethod
    def keys(self, shard: Shard) -> Iterator[Key]:
        """Yield the keys of a shard's photographs; the subset is empty if the shard does not tell it."""

    @abc.abstractmethod
    def read_shard(self, shard: Shard, wanted: Container[Key] | None) -> Iterator[tuple[Key, bytes]]:
        """Yield the wanted photographs of a shard, encoded, in the order in which the shard holds them."""


def is_shard(path: str, suffixes: tuple[str, ...]) -> bool:
    """Return whether a file's name has one of the suffixes and is not hidden, as those of unfinished files are."""
    name = path.rstrip("/").rpartition("/")[2]
    return name.endswith(suffixes) and name[0] not in "._"


def find_wanted(subset: str, image_id: str, wanted: Container[Key] | None) -> Key | None:
    """Return the wanted key of a photograph; if its shard does not tell the subset, its image id decides.

    Args:
        subset: The subset, or an empty text.
        image_id: The image id.
        wanted: The wanted photographs; None for all.
    """
    if wanted is None:
        return Key(subset, image_id)
    for candidate in (subset,) if subset else SUBSETS:
        if (key := Key(candidate, image_id)) in wanted:
            return key
    return None


@functools.lru_cache(maxsize=4)
def _places(photographs: ShardedPhotographs) -> dict[Key, Shard]:
    """Return the shard of each photograph."""
    return {key: shard for shard in photographs.shards() for key in photographs.keys(shard)}
