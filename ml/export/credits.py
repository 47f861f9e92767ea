"""Licenses and authors of the exported photographs: `attribution.csv`, and the table of licenses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ml.export.source import CREDITS, PHOTOGRAPH
from ml.photographs.source import SUFFIX

OPEN_IMAGES = "https://storage.googleapis.com/openimages/web/index.html"
ATTRIBUTION = "attribution.csv"
NOT_STATED = "not stated"
_CREATIVE_COMMONS = re.compile(r"https?://creativecommons\.org/licenses/([a-z-]+)/(\d\.\d)")


@dataclass(frozen=True)
class License:
    """A license of photographs.

    Attributes:
        id: A number; 0 if the release does not state the license.
        name: Its short name, such as `CC BY 2.0`; its address if that is not one of Creative Commons.
        url: Its address.
        photographs: Number of photographs under it.
    """

    id: int
    name: str
    url: str
    photographs: int


def photographs_of(faces: pl.DataFrame) -> pl.DataFrame:
    """Return the photographs of some faces once each, with their credits, in the order of subset and image id."""
    columns = (*PHOTOGRAPH, *CREDITS)
    return faces.select(columns).unique(PHOTOGRAPH, keep="first").sort(PHOTOGRAPH)


def file_name() -> pl.Expr:
    """Return the expression of a photograph's path in the published release: `<subset>/<ImageID>.jpg`."""
    return pl.concat_str(pl.col("subset"), pl.lit("/"), pl.col("image_id"), pl.lit(SUFFIX))


def write_attribution(photographs: pl.DataFrame, folder: Path) -> None:
    """Write `attribution.csv`: author, title, license and landing page of each photograph, as published."""
    rows = photographs.select(file_name().alias("photograph"), "author", "title", "license", "landing_url")
    rows.rename({"landing_url": "landing_page"}).write_csv(folder / ATTRIBUTION)


def licenses_of(photographs: pl.DataFrame) -> list[License]:
    """Return the licenses of the photographs in the order of their addresses, an unstated one first."""
    counts = photographs.group_by("license").len().sort("license", nulls_last=False)
    stated = counts.filter(pl.col("license").is_not_null())
    found = [License(number, _name(url), url, count) for number, (url, count) in enumerate(stated.iter_rows(), 1)]
    unstated = int(photographs["license"].null_count())
    return [License(0, NOT_STATED, "", unstated), *found] if unstated else found


def _name(url: str) -> str:
    found = _CREATIVE_COMMONS.match(url)
    return f"CC {found[1].upper()} {found[2]}" if found else url
