"""Combine several deliveries with Polars: a later delivery of an image replaces the image's earlier rows."""

from __future__ import annotations

import polars as pl


def current_rows(rows: pl.LazyFrame, held: pl.LazyFrame) -> pl.LazyFrame:
    """Drop an image's rows if a later delivery has rows of the same image.

    Args:
        rows: Rows with columns image_id and delivery.
        held: The images that have rows in this table, by delivery: columns image_id and delivery. Rows may repeat.
    """
    return rows.join(_newest(held), on="image_id", how="left").filter(_is_current()).drop("newest")


def replaced_rows(rows: pl.LazyFrame, held: pl.LazyFrame) -> pl.LazyFrame:
    """Return the rows that `current_rows` drops."""
    return rows.join(_newest(held), on="image_id", how="inner").filter(~_is_current()).drop("newest")


def _newest(held: pl.LazyFrame) -> pl.LazyFrame:
    """Return the newest delivery of each image that is in several deliveries; dates sort as text."""
    by_image = held.group_by("image_id").agg(
        pl.col("delivery").max().alias("newest"), pl.col("delivery").min().alias("oldest")
    )
    return by_image.filter(pl.col("newest") != pl.col("oldest")).select("image_id", "newest")


def _is_current() -> pl.Expr:
    return pl.col("newest").is_null() | (pl.col("delivery") == pl.col("newest"))
