"""Tables of attempts are read from the files that manifests list, on a disk and in a store."""

import io
import uuid

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml import storage
from ml.workflow.manifest import Manifest, commit, list_files
from ml.workflow.tables import scan_current, scan_replaced, scan_table

JANUARY, FEBRUARY = "2024-01-15", "2024-02-15"


@pytest.fixture(params=["disk", "store"])
def root(request, tmp_path):
    return storage.normalize(str(tmp_path)) if request.param == "disk" else f"memory://{uuid.uuid4().hex}"


def manifest_of(uri, tables=None, parts=None):
    """Commit an attempt with a file for each list of rows."""
    for name, files in (tables or {}).items():
        for number, rows in enumerate(files):
            buffer = io.BytesIO()
            pq.write_table(pa.Table.from_pylist(rows), buffer)
            storage.write_bytes(storage.join(uri, name, f"part-{number}.parquet"), buffer.getvalue())
    manifest = Manifest(
        **{"stage": "extract", "version": 1, "key": "k", "attempt": "a", "uri": uri, "config": {}, "inputs": {}},
        **{"sources": {}, "metrics": {}, "ledger": {}, "versions": {}, "started": "", "finished": ""},
        **{"files": list_files(uri) if tables else [], "parts": parts or {}},
    )
    commit(storage.join(uri, "key"), manifest)
    return manifest


def row(image, delivery, value):
    return {"image_id": image, "delivery": delivery, "value": value}


def held(image, delivery, table="boxes"):
    return {"table": table, "image_id": image, "delivery": delivery}


def test_a_table_is_read_from_all_of_its_files_column_by_column(root):
    manifest = manifest_of(root, {"boxes": [[row("a", JANUARY, 1)], [row("b", JANUARY, 2)]]})
    storage.write_bytes(storage.join(root, "boxes", "part-9.parquet"), b"of a killed attempt")
    found = scan_table(manifest, "boxes").filter(pl.col("image_id").is_in(["b", "c"])).select("value").collect()
    assert found.to_dict(as_series=False) == {"value": [2]}
    with pytest.raises(KeyError, match="no table miap"):
        scan_table(manifest, "miap")


def test_each_image_has_the_rows_of_its_newest_delivery(root):
    january = {"boxes": [[row("a", JANUARY, 1), row("b", JANUARY, 2)]], "held": [[held("a", JANUARY)]]}
    february = {
        "boxes": [[row("a", FEBRUARY, 3)]],
        "held": [[held("a", FEBRUARY), held("b", FEBRUARY, "labels"), held("a", FEBRUARY)]],
    }
    parts = {
        name: manifest_of(storage.join(root, name), tables).uri
        for name, tables in ((JANUARY, january), (FEBRUARY, february))
    }
    whole = manifest_of(storage.join(root, "whole"), parts=parts)
    assert sorted(scan_current(whole, "boxes").collect()["value"]) == [2, 3]
    assert list(scan_replaced(whole, "boxes").collect()["value"]) == [1]
    alone = manifest_of(storage.join(root, JANUARY), january)
    assert scan_current(alone, "boxes").collect().height == 2
    assert scan_replaced(alone, "boxes").collect().is_empty()
