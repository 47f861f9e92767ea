"""Histograms of features count every value once, in the bins that their edges say."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ml import storage
from ml.features.histograms import EDGES, count_values
from support.profiles import histogram


def test_the_values_of_all_files_are_counted_and_no_other(tmp_path):
    sizes = np.array([3.0, 16.0, 50.0, 50.0, 4096.0, 90_000.0])
    lights = [None, 0.0, 0.5, float("nan"), 1.0, 0.505]
    for number, rows in enumerate((slice(0, 2), slice(2, 6))):
        table = pa.table(
            {
                "face_px": sizes[rows],
                "brightness": pa.array(lights[rows], pa.float64()),
                "pixels": [b""] * len(sizes[rows]),
            }
        )
        pq.write_table(table, tmp_path / f"part-{number}.parquet")
    found = count_values(storage.normalize(path) for path in sorted(tmp_path.iterdir()))
    assert found["face_px"] == histogram("face_px", sizes)
    assert found["brightness"] == histogram("brightness", [0.0, 0.5, 1.0, 0.505])
    assert (found["face_px"].counts[0], found["face_px"].counts[1], found["face_px"].counts[-1]) == (1, 1, 2)
    assert all(sum(each.counts) == total for each, total in zip(found.values(), (6, 4), strict=True))


def test_a_value_on_an_edge_belongs_to_the_bin_above_it():
    for column, edges in EDGES.items():
        assert histogram(column, edges).counts == (0, *[1] * len(edges))


def test_no_files_give_empty_histograms():
    assert {sum(found.counts) for found in count_values([]).values()} == {0}
