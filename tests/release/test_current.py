"""A later delivery of an image replaces its rows, whatever is repeated."""

import polars as pl

from ml.release.current import current_rows, replaced_rows

JANUARY, FEBRUARY, MARCH = "2024-01-15", "2024-02-15", "2024-03-15"


def table(*rows):
    return pl.LazyFrame(rows, schema=["image_id", "delivery", "value"], orient="row")


def held(*rows):
    return pl.LazyFrame(rows, schema=["image_id", "delivery"], orient="row")


def test_only_the_newest_deliverys_rows_of_an_image_remain():
    rows = table(("a", JANUARY, 1), ("a", FEBRUARY, 2), ("a", FEBRUARY, 3), ("b", JANUARY, 4), ("c", FEBRUARY, 5))
    images = held(("a", JANUARY), ("a", FEBRUARY), ("b", JANUARY), ("c", FEBRUARY))
    assert sorted(current_rows(rows, images).collect()["value"]) == [2, 3, 4, 5]
    assert list(replaced_rows(rows, images).collect()["value"]) == [1]


def test_rows_that_the_newest_delivery_does_not_keep_replace_too():
    """The table holds rows of the configured classes only; `held` knows of all."""
    rows = table(("a", JANUARY, 1), ("a", FEBRUARY, 2))
    images = held(("a", JANUARY), ("a", FEBRUARY), ("a", MARCH))
    assert current_rows(rows, images).collect().is_empty()
    assert sorted(replaced_rows(rows, images).collect()["value"]) == [1, 2]


def test_rows_may_repeat_in_the_list_of_images_held():
    rows = table(("a", JANUARY, 1), ("a", JANUARY, 1), ("b", JANUARY, 2))
    once, often = held(("a", JANUARY)), held(*[("a", JANUARY)] * 3, ("b", JANUARY))
    for images in (once, often):
        assert list(current_rows(rows, images).sort("value").collect()["value"]) == [1, 1, 2]
    twice = held(*[("a", JANUARY)] * 2, *[("a", MARCH)] * 2)
    assert list(current_rows(rows, twice).collect()["value"]) == [2]
