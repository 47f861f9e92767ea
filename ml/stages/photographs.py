"""Look up photographs in the image tables of stage extract."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pyarrow as pa
import pyarrow.dataset

from ml import storage
from ml.workflow.manifest import Manifest


def listed_images(extract: Manifest, images: Collection[str], columns: Collection[str]) -> list[dict[str, Any]]:
    """Return the rows of these images in the releases' image tables.

    Args:
        extract: The attempt of stage extract.
        images: Image ids.
        columns: The columns to return; image_id should be one of them.
    """
    if not (tables := extract.table("images")):
        return []
    fs, _ = storage.filesystem(tables[0])
    paths = [storage.filesystem(uri)[1] for uri in tables]
    dataset = pyarrow.dataset.dataset(paths, filesystem=fs, format="parquet")
    wanted = pyarrow.dataset.field("image_id").isin(
        pa.array(sorted(images), pa.string())
    )  # typed, as there may be none
    rows: list[dict[str, Any]] = dataset.to_table(columns=list(columns), filter=wanted).to_pylist()
    return rows
