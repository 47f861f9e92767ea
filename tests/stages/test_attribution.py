"""The card counts whose photographs the faces are from: those of the features, each once, as last delivered."""

import csv

import polars as pl
import pytest

from ml.features.reader import split_table
from ml.features.record import FeaturesRecord
from ml.stages.attribution import attribution
from support.spark_stages import BODIES


@pytest.fixture(scope="module")
def inputs(done):
    return {stage: done.pinned(stage) for stage in BODIES}


def test_photographs_and_authors_are_counted_by_license(inputs, sample_release):
    found = attribution(inputs)
    published = {}
    for file in (sample_release / "2018_04").glob("*/*-with-rotation.csv"):
        with file.open(newline="", encoding="utf-8") as lines:
            published |= {row["ImageID"]: row for row in csv.DictReader(lines)}
    files = [
        path.removeprefix("file://")
        for split in inputs["featurize"].record(FeaturesRecord).faces
        for path in inputs["featurize"].table(split_table(split))
    ]
    used = set(pl.read_parquet(files, columns=["image_id"])["image_id"])
    (row,) = found.licenses
    assert row.license == "https://creativecommons.org/licenses/by/2.0/"
    assert row.photographs == len(used)
    authors = {published[image]["Author"] for image in used} - {""}
    assert row.authors == found.authors == len(authors)
    assert list(found.attempts) == [part.uri for part in inputs["extract"].of_deliveries()]


def test_without_stage_extract_nothing_is_told(inputs):
    assert attribution({"featurize": inputs["featurize"]}) is None
