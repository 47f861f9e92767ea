"""What a source of photographs is: a place that holds the encoded photographs of a release."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

SUBSETS = ("train", "validation", "test")
SUFFIX = ".jpg"


class Key(NamedTuple):
    """What identifies a photograph: its subset and its image id."""

    subset: str
    image_id: str


class Columns(NamedTuple):
    """The names of the columns of a Parquet table of photographs.

    The defaults are those of the original notebook's `images.parquet`.
    """

    image_id: str = "ImageID"
    subset: str = "Subset"
    data: str = "Data"

    @classmethod
    def parse(cls, text: str) -> Columns:
        """Return the columns that the parameter `photograph_columns` names, separated by commas."""
        return cls(*(name.strip() for name in text.split(",")))


NOTEBOOK = Columns()


class Listed(NamedTuple):
    """A photograph in a listing: its subset, its image id, and its state, which is size and time (or etag) as text."""

    subset: str
    image_id: str
    state: str


@dataclass(frozen=True)
class Shard:
    """A part of a source that is read from start to end by one task.

    Attributes:
        uri: The file.
        row_groups: The row groups of a Parquet file; empty for all of the file.
    """

    uri: str
    row_groups: tuple[int, ...] = ()


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

    def shards(self) -> tuple[Shard, ...]:
        """Return the parts that hold many photographs each; none if each photograph is a file of its own."""

    def read_shard(self, shard: Shard, wanted: Container[Key] | None) -> Iterator[tuple[Key, bytes]]:
        """Yield the wanted photographs of a shard, encoded, in the order in which the shard holds them.

        Args:
            shard: One of `shards`.
            wanted: The keys of the wanted photographs; None for all.

        Raises:
            DataError: The shard cannot be read.
        """

    def digest(self) -> str:
        """Return a digest that changes when a photograph is added, removed or replaced, if such changes are visible."""


def photograph_name(subset: str, image_id: str) -> str:
    """Return a photograph's path relative to the folder of all photographs, as in the published release."""
    return f"{subset}/{image_id}{SUFFIX}"


def digest_of(states: Iterable[tuple[str, str]]) -> str:
    """Return one digest of names and states.

    It is the sum of a digest per name, so it depends on no order and takes no memory for millions of them.
    """
    total = 0
    for name, state in states:
        total = (total + int.from_bytes(hashlib.sha256(f"{name} {state}".encode()).digest())) % (1 << 256)
    return f"{total:064x}"


def listing_digest(listing: Iterable[Listed]) -> str:
    """Return one digest of a listing of photographs."""
    return digest_of((photograph_name(subset, image_id), state) for subset, image_id, state in listing)
