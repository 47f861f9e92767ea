"""Read the Parquet tables of attempts with Polars, lazily: only the columns and rows that a query needs."""

from __future__ import annotations

import polars as pl
import pyarrow.dataset

from ml import storage
from ml.release.current import current_rows, replaced_rows
from ml.release.delivery import HELD
from ml.workflow.manifest import Manifest


def scan_table(manifest: Manifest, name: str) -> pl.LazyFrame:
    """Return a table of an attempt, from the files that its manifest lists.

    Raises:
        KeyError: The attempt has no such table.
    """
    uris = manifest.table(name)
    if not uris:
        raise KeyError(f"{manifest.uri} has no table {name}")
    local = [path for uri in uris if (path := storage.local_path(uri))]
    if len(local) == len(uris):
        return pl.scan_parquet(local, glob=False)
    # Polars would need credentials of its own for an object store; fsspec has the deployment's.
    fs, _ = storage.filesystem(uris[0])
    paths = [storage.filesystem(uri)[1] for uri in uris]
    return pl.scan_pyarrow_dataset(pyarrow.dataset.dataset(paths, filesystem=fs, format="parquet"))


def scan_current(extracted: Manifest, name: str) -> pl.LazyFrame:
    """Return a table of `extract` over all deliveries, with each image's rows from the newest delivery that has any."""
    rows = scan_table(extracted, name)
    return rows if len(extracted.parts) <= 1 else current_rows(rows, _held(extracted, name))


def scan_replaced(extracted: Manifest, name: str) -> pl.LazyFrame:
    """Return the rows of a table of `extract` that a later delivery replaced."""
    rows = scan_table(extracted, name)
    return rows.clear() if len(extracted.parts) <= 1 else replaced_rows(rows, _held(extracted, name))


def _held(extracted: Manifest, name: str) -> pl.LazyFrame:
    return scan_table(extracted, HELD).filter(pl.col("table") == name).select("image_id", "delivery")
