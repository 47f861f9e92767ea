"""Count whose photographs the features were made from, for the model card."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from ml.features.reader import split_table
from ml.features.record import FeaturesRecord
from ml.report.data import Attribution, LicenseCount
from ml.workflow.manifest import Manifest
from ml.workflow.tables import scan_current, scan_table

NOT_STATED = "no license stated"


def attribution(inputs: Mapping[str, Manifest]) -> Attribution | None:
    """Count the photographs of the features and their authors, by license; None without stage extract.

    Args:
        inputs: The run's attempts by stage; featurize is one of them.
    """
    features, extract = inputs["featurize"], inputs.get("extract")
    if extract is None or not extract.table("images"):
        return None
    used = pl.concat(
        [
            scan_table(features, split_table(split)).select("image_id")
            for split in features.record(FeaturesRecord).faces
            if features.table(split_table(split))
        ]
    ).unique()
    known = used.join(scan_current(extract, "images"), on="image_id", how="left").unique("image_id")
    author = pl.col("author").drop_nulls().n_unique().alias("authors")
    by_license = (
        known.group_by(pl.col("license").fill_null(NOT_STATED))
        .agg(pl.len().alias("photographs"), author)
        .sort(["photographs", "license"], descending=[True, False])
        .collect()
    )
    authors = known.select(author).collect().item()
    return Attribution(
        authors=authors,
        licenses=tuple(LicenseCount(**row) for row in by_license.iter_rows(named=True)),
        attempts=tuple(manifest.uri for manifest in extract.of_deliveries()),
    )
