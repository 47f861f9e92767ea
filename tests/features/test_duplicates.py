"""Near-duplicates are found as comparing all pairs would find them, without doing so."""

import numpy as np
import pytest

from ml.features import duplicates
from ml.features.duplicates import MAX_DISTANCE, near_duplicates


def random_hashes(count, seed=0):
    return np.random.default_rng(seed).integers(0, 1 << 64, count, dtype=np.uint64)


def flipped(value, bits, rng):
    for bit in rng.choice(64, bits, replace=False):
        value ^= np.uint64(1) << np.uint64(bit)
    return value


def all_pairs(hashes, distance):
    """Compare all pairs."""
    found = set()
    for first in range(len(hashes)):
        near = np.bitwise_count(hashes[first + 1 :] ^ hashes[first])
        found |= {(first, first + 1 + int(place), int(near[place])) for place in np.flatnonzero(near <= distance)}
    return found


def as_set(pairs):
    return set(zip(pairs.first.tolist(), pairs.second.tolist(), pairs.distance.tolist(), strict=True))


def test_the_pairs_are_those_that_comparing_all_of_them_gives():
    rng = np.random.default_rng(2)
    hashes = random_hashes(1500)
    # Each distance from 1 to beyond the limit, at random places.
    hashes[:400] = [flipped(hashes[800 + place], 1 + place % 9, rng) for place in range(400)]
    expected = all_pairs(hashes, MAX_DISTANCE)
    assert {distance for _, _, distance in expected} == set(range(1, MAX_DISTANCE + 1))
    assert as_set(near_duplicates(hashes.view(np.int64))) == expected


@pytest.mark.parametrize("count", [0, 1])
def test_there_are_no_pairs_without_two_photographs(count):
    pairs = near_duplicates(random_hashes(count).view(np.int64))
    assert as_set(pairs) == set()
    assert pairs.groups(count).tolist() == list(range(count))


def test_photographs_with_one_hash_are_one_group_without_a_pair_for_any_two_of_them():
    hashes = np.concatenate([np.zeros(50_000, np.uint64), random_hashes(10), np.array([7], np.uint64)])
    pairs = near_duplicates(hashes.view(np.int64))
    assert len(pairs.first) == 50_000  # each with the first, and the last with the first as well
    groups = pairs.groups(len(hashes))
    assert set(groups[:50_000]) == {groups[-1]}
    assert len(set(groups)) == 11


def test_a_crowded_bucket_takes_no_square_of_its_size_and_leaves_one_group(monkeypatch):
    """Nearly equal photographs, such as dark ones: neighbors in order are compared, and connect them all."""
    monkeypatch.setattr(duplicates, "MAX_BUCKET", 8)
    crowd = np.arange(1 << 12, dtype=np.uint64)  # they differ in the last 12 bits
    pairs = near_duplicates(crowd.view(np.int64))
    assert len(pairs.first) < 84 * 8 * len(crowd)
    assert set(pairs.groups(len(crowd)).tolist()) == {0}


def test_groups_join_what_is_connected():
    pairs = duplicates.Pairs(np.array([0, 1]), np.array([1, 4]), np.array([2, 6]))
    groups = pairs.groups(5).tolist()
    assert groups[0] == groups[1] == groups[4]
    assert len(set(groups)) == 3
