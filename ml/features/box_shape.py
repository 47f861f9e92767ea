"""The shape of the boxes that faces were cut out by."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow.compute as pc
import pyarrow.dataset

from ml import storage

COLUMN = "box_aspect"


def median_aspect(uris: Iterable[str]) -> float:
    """Return the median height of the faces' boxes as a share of their width; read no other column.

    Args:
        uris: The Parquet files of a split of features, at least one.
    """
    places = [storage.filesystem(uri) for uri in uris]
    files = pyarrow.dataset.dataset([path for _, path in places], filesystem=places[0][0], format="parquet")
    aspects = files.to_table(columns=[COLUMN]).column(COLUMN)
    return round(float(pc.quantile(aspects, 0.5)[0].as_py()), 3)
