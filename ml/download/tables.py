"""Write the tables of a delivery: the rows of its images from every annotation file, and who made the photographs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import polars as pl

from ml import storage
from ml.download.annotations import CLASSES, OPTIONAL, PATHS, Annotations, official_path
from ml.download.landing import ATTRIBUTION, FAILURE_COLUMNS, FAILURES
from ml.download.picking import collect, read_text
from ml.download.transfer import Failure, Wanted
from ml.photographs.source import SUBSETS
from ml.release.contract import TABLES

CREDIT_COLUMNS = (
    *("ImageID", "Subset", "Author", "AuthorProfileURL", "OriginalLandingURL", "License", "Title", "OriginalURL"),
)


def describe(files: Annotations, images: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], Wanted]:
    """Return the photographs of images by subset and image id, with their original addresses where they are listed."""
    found = {(subset, image): Wanted(subset, image) for subset, picked in images.items() for image in picked}
    for subset, picked in images.items():
        rows = _rows(files, "images", subset, picked)
        columns = [
            rows[name] if name in rows.columns else [None] * len(rows) for name in ("OriginalURL", "OriginalMD5")
        ]
        for image, url, md5 in zip(rows["ImageID"], *columns, strict=True):
            found[subset, image] = Wanted(subset, image, url or "", md5 or "")
    return found


def write_tables(files: Annotations, folder: str, images: Mapping[str, Collection[str]]) -> None:
    """Write the annotation files of a delivery with their official paths, and `attribution.csv`.

    A subset without images gets files that hold a header only.

    Args:
        files: The published files.
        folder: The delivery.
        images: Image ids by subset.
    """
    storage.write_bytes(storage.join(folder, CLASSES), files.classes.read_bytes())
    credits = []
    for table in PATHS:
        for subset in SUBSETS:
            there = files.tables.get(table, {})
            if table in OPTIONAL and (not there or (subset in images and subset not in there)):
                continue  # the host lacks it
            rows = _rows(files, table, subset, images.get(subset, ()))
            _write(storage.join(folder, official_path(table, subset)), rows)
            if table == "images":
                credits.append(rows.select(name for name in CREDIT_COLUMNS if name in rows.columns))
    _write(storage.join(folder, ATTRIBUTION), pl.concat(credits, how="diagonal").sort("ImageID"))


def write_failures(folder: str, failures: Sequence[Failure]) -> None:
    """Write the list of the photographs that could not be fetched, with the reasons."""
    rows = [
        (each.image_id, each.subset, each.reason.value, str(int(each.lasting)), each.detail.replace("\n", " "))
        for each in failures
    ]
    schema = dict.fromkeys(FAILURE_COLUMNS, pl.String)
    _write(storage.join(folder, FAILURES), pl.DataFrame(rows, schema, orient="row"))


def _rows(files: Annotations, table: str, subset: str, images: Collection[str]) -> pl.DataFrame:
    """Return the rows of images in a published file, as they are written there."""
    file = files.tables.get(table, {}).get(subset)
    if file is None:
        return pl.DataFrame(schema={column.name: pl.String for column in TABLES[table].columns})
    wanted = pl.Series(list(images), dtype=pl.String)
    return collect(read_text(file).filter(pl.col("ImageID").is_in(wanted.implode())), file)


def _write(uri: str, rows: pl.DataFrame) -> None:
    storage.write_bytes(uri, rows.write_csv().encode())
