"""Check that the splits of features share no photograph and no near-duplicate, on the rows that training reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ml import storage
from ml.features.duplicates import near_duplicates
from ml.guards import check_near_duplicates, check_split

COLUMNS = ["image_id", "image_hash"]


def check_overlap(splits: Mapping[str, Iterable[str]]) -> None:
    """Check that no photograph is in two splits, and none is a near-duplicate of one in another split.

    Args:
        splits: The URIs of the features' files by split.

    Raises:
        SplitLeakError: At least one is.
    """
    tables = {split: _photographs(uris) for split, uris in splits.items()}
    check_split({split: table.column("image_id").to_pylist() for split, table in tables.items()})
    together = pa.concat_tables(tables.values())
    ids = together.column("image_id").to_pylist()
    sides = np.repeat(list(tables), [table.num_rows for table in tables.values()])
    pairs = near_duplicates(together.column("image_hash").to_numpy())
    crossing = np.flatnonzero(sides[pairs.first] != sides[pairs.second])
    check_near_duplicates(
        [
            f"{ids[one]} ({sides[one]}) and {ids[other]} ({sides[other]})"
            for one, other in zip(pairs.first[crossing], pairs.second[crossing], strict=True)
        ]
    )


def _photographs(uris: Iterable[str]) -> pa.Table:
    """Return the distinct photographs in some files of features, with their hashes."""
    empty = pa.table({"image_id": pa.array([], pa.string()), "image_hash": pa.array([], pa.int64())})
    parts = [empty]
    for uri in uris:
        fs, path = storage.filesystem(uri)
        # A file in a folder `split=...` would get the folder's value as a column.
        parts.append(pq.read_table(path, filesystem=fs, columns=COLUMNS, partitioning=None))
    return pa.concat_tables(parts).group_by(COLUMNS).aggregate([]).sort_by("image_id")
