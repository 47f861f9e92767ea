"""Find near-duplicate photographs by their perceptual hashes, in less time than comparing all pairs of them takes.

Two photographs are near-duplicates if their 64-bit hashes differ in at most `MAX_DISTANCE` bits. Divide the bits into
`MAX_DISTANCE + SHARED` blocks: two such hashes agree in at least `SHARED` whole blocks. So it is enough to compare
photographs that agree in some choice of `SHARED` blocks, once for each choice.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BITS = 64
MAX_DISTANCE = 6  # measured: saving, scaling or halving moves at most 4 bits, and no two of 3,000 scenes are this near
SHARED = 3  # blocks of 7 bits: 21 bits tell a million photographs apart well enough
MAX_BUCKET = 256  # photographs that agree in the chosen blocks and are all compared; of more, the nearest in order

Hashes = NDArray[np.uint64]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """Pairs of near-duplicates, by their places in the array of hashes.

    Of several photographs with the same hash, each is paired with the first, which alone is paired with others.

    Attributes:
        first: The place of one photograph, which is the smaller one.
        second: The place of the other.
        distance: The number of bits in which their hashes differ.
    """

    first: Numbers
    second: Numbers
    distance: Numbers

    def groups(self, photographs: int) -> Numbers:
        """Return the number of each photograph's group: what is connected by pairs is in one group."""
        return connected(photographs, self.first, self.second)


def connected(count: int, first: Numbers, second: Numbers) -> Numbers:
    """Return the number of each item's group, where pairs of items are in the same group."""
    from scipy.sparse import coo_array  # a third of a second in each worker that only reads this module's constants
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(count, count))
    return np.asarray(connected_components(links, directed=False)[1], np.int64)


def near_duplicates(hashes: NDArray[np.int64], max_distance: int = MAX_DISTANCE) -> Pairs:
    """Find all pairs of photographs whose hashes differ in at most `max_distance` bits.

    Args:
        hashes: The hash of each photograph, as tables store it.
        max_distance: The largest number of bits. More than `MAX_DISTANCE` takes much longer.
    """
    distinct, first_of, which = np.unique(hashes.view(np.uint64), return_index=True, return_inverse=True)
    repeated = np.flatnonzero(first_of[which] != np.arange(len(hashes)))
    found = [(first_of[which[repeated]], repeated, np.zeros(len(repeated), np.int64))]
    for left, right, distance in _near(distinct, max_distance):
        found.append((first_of[left], first_of[right], distance))
    one, other, distance = (np.concatenate(parts) for parts in zip(*found, strict=True))
    rows = np.unique(np.stack([np.minimum(one, other), np.maximum(one, other), distance], axis=1), axis=0)
    return Pairs(rows[:, 0], rows[:, 1], rows[:, 2])


def _near(hashes: Hashes, max_distance: int) -> Iterator[tuple[Numbers, Numbers, Numbers]]:
    """Yield near pairs of distinct hashes in ascending order, some of them several times."""
    edges = np.linspace(0, BITS, max_distance + SHARED + 1).round().astype(int)
    masks = [sum(1 << bit for bit in range(low, high)) for low, high in itertools.pairwise(edges)]
    for chosen in itertools.combinations(masks, SHARED):
        keys = hashes & np.uint64(sum(chosen))
        order = np.argsort(keys, kind="stable")  # so that what agrees stays in ascending order
        keys, ordered = keys[order], hashes[order]
        places = np.arange(len(keys) - 1)
        for step in range(1, MAX_BUCKET):
            places = places[places < len(keys) - step]
            places = places[keys[places] == keys[places + step]]
            if not len(places):
                break
            distance = np.bitwise_count(ordered[places] ^ ordered[places + step])
            near = distance <= max_distance
            yield order[places[near]], order[places[near] + step], distance[near].astype(np.int64)
