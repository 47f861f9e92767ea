"""The ids of faces are what they have always been: Spark's digest of text that Java spells."""

import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import functions as F

from ml.features.columns import EDGES
from spark_jobs.face_ids import face_ids, spell

NUMBERS = [
    *(0.0, -0.0, 1.0, 0.1, 0.25, 0.001, 0.0009999, 1e-4, 1.5e-5, 0.123456, 1 / 3, 2 / 3, 0.07, 5e-5, 123.0, 12345.678),
    *(9999999.0, 1e7, 1.25e8, 1e300, -0.5, -2e-7, 3.4e-310, math.nan, math.inf, -math.inf, None),
]
SCHEMA = "image_id string, subset string, " + ", ".join(f"{edge} double" for edge in EDGES)


def spelled(numbers):
    return spell(pa.chunked_array([pa.array(numbers, pa.float64())])).to_pylist()


def test_numbers_are_spelled_as_java_does(spark):
    drawn = [row.x for row in spark.range(3000).select(F.rand(1).alias("x")).collect()]
    six = [number / 1e6 for number in range(0, 1_000_000, 397)]
    tiny = [number * 10.0 ** -(index % 12) for index, number in enumerate(drawn)]
    numbers = [*NUMBERS, *drawn, *six, *tiny]
    table = spark.createDataFrame([(number,) for number in numbers], "x double")
    assert spelled(numbers) == [row.x for row in table.select(F.col("x").cast("string")).collect()]


@given(st.floats(width=64))
def test_a_spelled_number_is_that_number(number):
    (text,) = spelled([number])
    assert float(text) == number or math.isnan(number)
    assert "." in text or text in ("NaN", "Infinity", "-Infinity")


def test_ids_are_those_that_spark_made(spark):
    rows = [
        (image, "train", *(NUMBERS[(place + step) % len(NUMBERS)] for step in (0, 3, 5, 7)))
        for place in range(len(NUMBERS))
        for image in ("0123456789abcdef", "é", "", None)
    ]
    identity = F.sha2(F.concat_ws("|", "subset", "image_id", *EDGES), 256)
    table = spark.createDataFrame(rows, SCHEMA)
    expected = table.select(F.concat_ws("-", "image_id", F.substring(identity, 1, 12)).alias("id")).collect()
    boxes = pa.Table.from_pylist([dict(zip(("image_id", "subset", *EDGES), row, strict=True)) for row in rows])
    assert face_ids(boxes).to_pylist() == [row.id for row in expected]


@pytest.mark.parametrize(("number", "text"), [(0.5, "0.5"), (1.0, "1.0"), (1e-4, "1.0E-4"), (0.00123, "0.00123")])
def test_the_spelling_of_a_few_numbers(number, text):
    assert spelled([number]) == [text]
