"""Histograms of the columns of features, with edges fine enough to stand for the values when two runs are compared."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow.dataset

from ml import storage
from ml.flow.profile import Histogram

# Face sizes differ by factors, so their bins are equally wide in the logarithm: eight to a doubling, 16 to 4096 pixels.
EDGES: dict[str, tuple[float, ...]] = {
    "face_px": tuple(float(2 ** (4 + step / 8)) for step in range(65)),
    "brightness": tuple(step / 100 for step in range(1, 100)),
}


def count_values(uris: Iterable[str]) -> dict[str, Histogram]:
    """Return the histogram of each column of `EDGES`, from the Parquet files of a table; read no other column.

    NULL and NaN are not counted.
    """
    counts = {column: np.zeros(len(edges) + 1, np.int64) for column, edges in EDGES.items()}
    places = [storage.filesystem(uri) for uri in uris]
    if places:
        files = pyarrow.dataset.dataset([path for _, path in places], filesystem=places[0][0], format="parquet")
        for batch in files.to_batches(columns=list(EDGES)):
            for column, edges in EDGES.items():
                values = batch.column(column).to_numpy(zero_copy_only=False).astype(float)
                bins = np.searchsorted(edges, values[~np.isnan(values)], side="right")
                counts[column] += np.bincount(bins, minlength=len(edges) + 1)
    return {column: Histogram(edges=edges, counts=tuple(counts[column].tolist())) for column, edges in EDGES.items()}
