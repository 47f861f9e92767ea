"""No two splits share a photograph, a near-duplicate or, by digest, an author."""

import hashlib
import math

import numpy as np
import pyarrow as pa
import pytest

from ml.config.training import TrainingConfig
from ml.errors import SplitLeakError
from spark_jobs import splitting
from spark_jobs.splitting import divide

DIGEST = TrainingConfig(split="digest", validation_share=0.2, test_share=0.1)
OFFICIAL = TrainingConfig()


def photographs(*rows, faces=1):
    """Photographs as rows of image id, subset and hash."""
    ids, subsets, hashes = zip(*rows, strict=True)
    return pa.table(
        {
            "image_id": list(ids),
            "subset": list(subsets),
            "image_hash": pa.array(np.array(hashes, np.uint64).view(np.int64)),
            "faces": pa.array([faces] * len(rows), pa.int64()),
        }
    )


def distinct(count, subset="train"):
    """Photographs that are no near-duplicates."""
    hashes = np.random.default_rng(0).integers(0, 1 << 64, count, dtype=np.uint64)
    return photographs(*((f"{number:016x}", subset, value) for number, value in enumerate(hashes.tolist())))


def splits_of(division):
    return dict(zip(division.photographs.column("image_id").to_pylist(), division.splits.tolist(), strict=True))


FAR = (1 << 40) - 1


@pytest.mark.parametrize(
    ("subsets", "stay"),
    [
        (("train", "test"), {"b"}),
        (("train", "validation"), {"b"}),
        (("validation", "test"), {"b"}),
        (("train", "train"), {"a", "b"}),
        (("test", "train"), {"a"}),
    ],
)
def test_of_near_duplicates_across_official_splits_training_loses(subsets, stay):
    rows = photographs(("a", subsets[0], 0), ("b", subsets[1], 0b111), ("c", "train", FAR), faces=3)
    division = divide(rows, [], OFFICIAL)
    kept = division.kept()
    assert set(kept.column("image_id").to_pylist()) == {*stay, "c"}
    assert division.faces_left_out == 3 * (2 - len(stay))
    assert division.duplicates().to_pylist() == [
        {"image_id": "a", "other_id": "b", "split": subsets[0], "other_split": subsets[1], "distance": 3}
    ]


def test_near_duplicates_are_followed_from_one_to_the_next():
    """The outer two are no near-duplicates, yet each is one of the middle one: only the test photograph stays."""
    rows = photographs(("a", "train", 0), ("b", "validation", 0b11111), ("c", "test", 0b1111111111))
    assert divide(rows, [], OFFICIAL).kept().column("image_id").to_pylist() == ["c"]


def test_a_photograph_in_two_subsets_is_refused_unless_the_split_is_by_digest():
    rows = photographs(("a", "test", 5), ("a", "train", 5), ("b", "train", FAR))
    with pytest.raises(SplitLeakError, match=r"a \("):
        divide(rows, [], OFFICIAL)
    # Listed as another photograph under the same id, it would be no near-duplicate of itself.
    for hashes in ((5, 5), (5, FAR)):
        rows = photographs(("a", "test", hashes[0]), ("a", "train", hashes[1]))
        assert len(set(divide(rows, [], DIGEST).splits.tolist())) == 1


def test_by_digest_near_duplicates_and_authors_stay_together_and_nothing_is_left_out():
    rng = np.random.default_rng(1)
    rows, authors = [], []
    for number, value in enumerate(rng.integers(0, 1 << 64, 300, dtype=np.uint64).tolist()):
        rows += [(f"{number}-one", "train", value), (f"{number}-two", "test", value ^ 0b11)]
        authors.append((f"{number}-one", f"author {number // 2}"))
    division = divide(photographs(*sorted(rows)), authors, DIGEST)
    splits = splits_of(division)
    assert not division.leaves.any()
    for number in range(0, 300, 2):
        own = {splits[f"{place}-{which}"] for place in (number, number + 1) for which in ("one", "two")}
        assert len(own) == 1
    assert {"train", "validation", "test"} == set(splits.values())


def test_an_author_matters_only_to_the_split_by_digest():
    rows = photographs(("a", "train", 0), ("b", "test", FAR))
    division = divide(rows, [("a", "author x"), ("b", "author x")], OFFICIAL)
    assert splits_of(division) == {"a": "train", "b": "test"}
    assert not division.leaves.any()


def test_the_digest_split_keeps_its_shares_and_has_nothing_to_do_with_the_image_limit():
    splits = splits_of(divide(distinct(4000), [], DIGEST))
    for split, share in {"train": 0.7, "validation": 0.2, "test": 0.1}.items():
        found = list(splits.values()).count(split) / 4000
        assert found == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 4000))
    lowest = sorted(splits, key=lambda image: hashlib.sha256(f"limit:{image}".encode()).hexdigest())[:500]
    assert [splits[image] for image in lowest].count("test") / 500 == pytest.approx(0.1, abs=0.06)


def test_authors_are_read_where_they_are_known(done):
    extracted = done.pinned("extract")
    found = splitting.read_photographs(done.pinned("chip").table("chips"))
    ids = set(found.column("image_id").to_pylist())
    authors = splitting.read_authors(extracted.table("images"), found)
    assert 0 < len(authors) < len(ids)
    assert {image for image, _ in authors} < ids
    assert all(author.removeprefix("author ").strip() for _, author in authors)
    assert sum(found.column("faces").to_pylist()) == done.pinned("chip").ledger["chipped"]
