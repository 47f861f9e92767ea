"""Divide the photographs among the splits: no two share a photograph, a near-duplicate or, by digest, an author.

The driver does it without Spark, because the list of photographs is short beside their chips.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ml import storage
from ml.config.training import TrainingConfig
from ml.features.duplicates import Numbers, Pairs, connected, near_duplicates
from ml.features.outputs import OUTPUTS
from ml.guards import check_split
from ml.photographs.source import SUBSETS

KEYS = ("image_id", "subset")
NEAR_DUPLICATE = "near-duplicate of a photograph in another split"
PRECEDENCE = ("train", "validation", "test")  # of near-duplicates in several splits, those in the last one stay


@dataclass(frozen=True)
class Division:
    """The split of each photograph.

    Attributes:
        photographs: Columns image_id, subset, image_hash and faces, which is the number of its chips.
        splits: The split of each.
        leaves: Whether it is left out, because a near-duplicate of it is in a split that takes precedence.
        pairs: The near-duplicates.
    """

    photographs: pa.Table
    splits: NDArray[np.str_]
    leaves: NDArray[np.bool_]
    pairs: Pairs

    @property
    def faces_left_out(self) -> int:
        """The number of chips on photographs that are left out."""
        return int(self.photographs.column("faces").to_numpy()[self.leaves].sum())

    def kept(self) -> pa.Table:
        """Return image_id, subset and split of the photographs that are not left out."""
        table = self.photographs.select(KEYS).append_column("split", pa.array(self.splits.tolist(), pa.string()))
        return table.filter(pa.array(~self.leaves))

    def duplicates(self) -> pa.Table:
        """Return the table `duplicates`: pairs of near-duplicates with their splits, before any of them is left out."""
        ids, splits = np.array(self.photographs.column("image_id").to_pylist(), object), self.splits
        first, second = self.pairs.first, self.pairs.second
        columns = {
            "image_id": ids[first],
            "other_id": ids[second],
            "split": splits[first].tolist(),
            "other_split": splits[second].tolist(),
            "distance": self.pairs.distance.tolist(),
        }
        return pa.table(columns, OUTPUTS["featurize", "duplicates"].schema())


def divide(photographs: pa.Table, authors: Iterable[tuple[str, str]], config: TrainingConfig) -> Division:
    """Divide the photographs among the splits.

    Args:
        photographs: See `read_photographs`.
        authors: Pairs of image id and author, if known; only used for `split: digest`.
        config: The run's configuration.

    Raises:
        SplitLeakError: A photograph is in two splits, as happens if the release lists it in two subsets.
    """
    ids = photographs.column("image_id").to_pylist()
    pairs = near_duplicates(photographs.column("image_hash").to_numpy())
    groups = pairs.groups(len(ids))
    units = groups if config.split == "official" else _by_author(ids, groups, authors)
    splits = np.array(split_of(photographs.column("subset").to_pylist(), _representatives(ids, units), config), np.str_)
    check_split({split: np.array(ids, object)[splits == split] for split in SUBSETS})
    return Division(photographs, splits, leaving(splits, groups), pairs)


def split_of(subsets: Sequence[str], representatives: Sequence[str], config: TrainingConfig) -> list[str]:
    """Return each photograph's split: its official subset, or one chosen by the digest of its group's representative.

    Args:
        subsets: The official subset of each photograph.
        representatives: The image id that stands for the group of each.
        config: The run's configuration.
    """
    if config.split == "official":
        return list(subsets)
    return [_by_digest(image_id, config) for image_id in representatives]


def _by_digest(image_id: str, config: TrainingConfig) -> str:
    # The first eight hexadecimal digits as a number in [0, 1).
    place = int(hashlib.sha256(f"split:{image_id}".encode()).hexdigest()[:8], 16) / (1 << 32)
    if place < config.test_share:
        return "test"
    return "validation" if place < config.test_share + config.validation_share else "train"


def _by_author(ids: Sequence[str], groups: Numbers, authors: Iterable[tuple[str, str]]) -> Numbers:
    """Join the groups of near-duplicates that share an author or, listed in two subsets, a photograph."""
    owners = [*authors, *((image_id, f"photograph {image_id}") for image_id in ids)]
    places: dict[str, list[int]] = {}
    for place, image_id in enumerate(ids):
        places.setdefault(image_id, []).append(place)
    numbers: dict[str, int] = {}
    links = [
        (int(groups[place]), len(ids) + numbers.setdefault(owner, len(numbers)))
        for image_id, owner in owners
        for place in places.get(image_id, ())
    ]
    one, other = np.array(links, np.int64).reshape(-1, 2).T
    return connected(len(ids) + len(numbers), one, other)[groups]


def _representatives(ids: Sequence[str], groups: Numbers) -> list[str]:
    """Return the lowest image id of each photograph's group."""
    lowest: dict[int, str] = {}
    for image_id, group in zip(ids, groups.tolist(), strict=True):
        lowest[group] = min(image_id, lowest.get(group, image_id))
    return [lowest[group] for group in groups.tolist()]


def leaving(splits: NDArray[np.str_], groups: Numbers) -> NDArray[np.bool_]:
    """Return which photographs are left out: those with a near-duplicate in a split that takes precedence.

    Test photographs stay, so that results on the official test split remain comparable.
    """
    ranks = np.array([PRECEDENCE.index(split) for split in splits.tolist()], np.int64)
    highest = np.zeros(int(groups.max(initial=-1)) + 1, np.int64)
    np.maximum.at(highest, groups, ranks)
    return np.asarray(ranks < highest[groups], np.bool_)


def read_photographs(chips: Iterable[str]) -> pa.Table:
    """Read the photographs that have chips, in order: columns image_id, subset, image_hash and faces."""
    columns = [*KEYS, "image_hash"]
    table = pa.concat_tables([_read(uri, columns) for uri in chips])
    counted = table.group_by(columns).aggregate([([], "count_all")]).rename_columns([*columns, "faces"])
    return counted.sort_by([(name, "ascending") for name in KEYS])


def read_authors(images: Iterable[str], photographs: pa.Table) -> list[tuple[str, str]]:
    """Read the authors of the photographs from the table `images` of extract, where they are known."""
    wanted = pc.unique(photographs.column("image_id"))
    pairs: set[tuple[str, str]] = set()
    for uri in images:
        table = _read(uri, ["image_id", "author"])
        table = table.filter(pc.is_in(table.column("image_id"), wanted))
        rows = zip(table.column("image_id").to_pylist(), table.column("author").to_pylist(), strict=True)
        pairs |= {(image_id, f"author {author.strip()}") for image_id, author in rows if author and author.strip()}
    return sorted(pairs)


def _read(uri: str, columns: list[str]) -> pa.Table:
    fs, path = storage.filesystem(uri)
    return pq.read_table(path, filesystem=fs, columns=columns)
