"""Splits that share a photograph or a near-duplicate are refused, whatever wrote them."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml.errors import SplitLeakError
from ml.features.overlap import check_overlap

FAR = (1 << 40) - 1


def write(folder, **splits):
    uris = {}
    for split, rows in splits.items():
        file = folder / f"split={split}" / "part-0.parquet"
        file.parent.mkdir()
        ids, hashes = zip(*rows, strict=True)
        pq.write_table(pa.table({"image_id": ids, "image_hash": pa.array(hashes, pa.int64())}), file)
        uris[split] = [str(file)]
    return uris


def test_splits_without_overlap_pass(tmp_path):
    """Near-duplicates within a split are no leak, nor is a second face of a photograph."""
    check_overlap(write(tmp_path, train=[("a", 0), ("a", 0), ("b", 1)], test=[("c", FAR)]))


def test_a_photograph_in_two_splits_is_refused(tmp_path):
    with pytest.raises(SplitLeakError, match=r"1 images are in two splits: a \(train, test\)"):
        check_overlap(write(tmp_path, train=[("a", 0)], test=[("a", 0)]))


@pytest.mark.parametrize("other", [0, 0b111111])
def test_a_near_duplicate_in_another_split_is_refused(tmp_path, other):
    with pytest.raises(SplitLeakError, match=r"a \(train\) and c \(validation\)"):
        check_overlap(write(tmp_path, train=[("a", 0), ("b", FAR)], validation=[("c", other)]))
