"""Tests of `ml.stages.photographs`."""

from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml.stages.photographs import listed_images


@pytest.mark.parametrize(("wanted", "found"), [(set(), []), ({"b", "z"}, [{"image_id": "b", "author": "Bo"}])])
def test_only_the_rows_of_the_wanted_images_are_returned(tmp_path, wanted, found):
    path = tmp_path / "images.parquet"
    pq.write_table(pa.table({"image_id": ["a", "b"], "author": ["Al", "Bo"], "title": ["A", "B"]}), path)
    extract = SimpleNamespace(table=lambda name: [path.as_uri()])
    assert listed_images(extract, wanted, ("image_id", "author")) == found
