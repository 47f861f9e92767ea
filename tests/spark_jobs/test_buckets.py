"""Tables divided by image: every row comes to the bucket of its image, once, as it was."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_jobs.buckets import ROWS_PER_SLICE, Slice, bucket_of, divide, gather, pack, slices_of, split_rows

SCHEMA = pa.schema([("image_id", pa.string()), ("subset", pa.string()), ("number", pa.float64())])
IDS = st.lists(st.one_of(st.none(), st.text(max_size=20), st.sampled_from(["0123456789abcdef", "00000000000000ff"])))


def table(ids):
    numbers = pa.array(np.arange(len(ids), dtype=float))
    return pa.table([pa.array(ids, pa.string()), pa.repeat("train", len(ids)), numbers], schema=SCHEMA)


@given(IDS, st.integers(1, 50), st.integers(0, 5))
def test_a_bucket_depends_on_the_id_alone(ids, buckets, skipped):
    column = pa.chunked_array([pa.array(ids, pa.string())])
    found = bucket_of(column, buckets).tolist()
    assert all(0 <= bucket < buckets for bucket in found)
    alone = [bucket_of(pa.chunked_array([pa.array([name], pa.string())]), buckets)[0] for name in ids]
    assert found == alone
    assert bucket_of(column[skipped:], buckets).tolist() == found[skipped:]


def test_buckets_are_about_equally_large():
    ids = [f"{number:016x}" for number in range(20_000)]
    sizes = np.bincount(bucket_of(pa.chunked_array([ids]), 20), minlength=20)
    assert sizes.min() > 850
    assert sizes.max() < 1150


def test_the_buckets_of_ids_do_not_change():
    """Other buckets would give other files for the same rows."""
    ids = ["0123456789abcdef", "00000000000000ff", "a", "", None]
    assert bucket_of(pa.chunked_array([ids]), 1000).tolist() == [194, 129, 729, 0, 0]


@given(IDS, st.integers(1, 8))
def test_split_rows_come_together_as_they_were(ids, buckets):
    rows = table(ids)
    parts = split_rows("boxes", rows, buckets)
    came = []
    for number in range(parts.num_rows):
        bucket, tables = gather([parts.slice(number, 1)], {"boxes": SCHEMA, "labels": SCHEMA})
        assert bucket == parts.column("bucket")[number].as_py()
        assert not len(tables["labels"])
        assert set(bucket_of(tables["boxes"].column("image_id"), buckets)) == {bucket}
        came += tables["boxes"].to_pylist()
    assert sorted(came, key=lambda row: row["number"]) == rows.to_pylist()


def test_a_task_without_rows_has_no_bucket():
    assert gather([], {"boxes": SCHEMA}) == (None, {"boxes": SCHEMA.empty_table()})


def test_slices_of_a_file_hold_each_row_once_and_small_files_share_a_task(tmp_path):
    rows = table([f"{number:016x}" for number in range(100)])
    pq.write_table(rows, tmp_path / "rows.parquet", row_group_size=30)
    slices = slices_of("boxes", {f"file://{tmp_path}/rows.parquet": 3 * ROWS_PER_SLICE}, SCHEMA)
    assert len(slices) == 3
    assert len(pack(slices)) == 3
    read = [part for piece in slices for part in piece.read()]
    assert pa.concat_tables(read).cast(SCHEMA).to_pylist() == rows.to_pylist()
    small = [Slice("boxes", "file:///x", SCHEMA, rows=ROWS_PER_SLICE // 10) for _ in range(20)]
    assert [len(task) for task in pack(small)] == [10, 10]


def test_a_slice_adds_the_delivery_to_a_file_without_one(tmp_path):
    schema = pa.schema([*SCHEMA, ("delivery", pa.string())])
    pq.write_table(table(["a", "b"]), tmp_path / "rows.parquet")
    (read,) = Slice("photographs", f"file://{tmp_path}/rows.parquet", schema, 2, delivery="2020-01-15").read()
    assert read.cast(schema).column("delivery").to_pylist() == ["2020-01-15"] * 2


@pytest.mark.parametrize("rows_per_bucket", [250_000, 20])
def test_spark_brings_all_rows_of_an_image_to_one_task(spark, tmp_path, monkeypatch, rows_per_bucket):
    monkeypatch.setattr("spark_jobs.buckets.ROWS_PER_BUCKET", rows_per_bucket)
    ids = [f"{number % 37:016x}" for number in range(111)]
    slices = []
    for name in ("boxes", "labels"):
        pq.write_table(table(ids), tmp_path / f"{name}.parquet", row_group_size=40)
        slices += slices_of(name, {f"file://{tmp_path}/{name}.parquet": len(ids)}, SCHEMA)

    def images(batches):
        bucket, tables = gather(batches, {"boxes": SCHEMA, "labels": SCHEMA})
        if bucket is not None:
            found = [tables[name].column("image_id").to_pylist() for name in ("boxes", "labels")]
            yield pa.RecordBatch.from_pydict({"boxes": [found[0]], "labels": [found[1]]})

    seen = divide(spark, slices).mapInArrow(images, "boxes array<string>, labels array<string>").collect()
    assert len(seen) == 1 if rows_per_bucket > 222 else 1 < len(seen) <= 11
    for row in seen:
        assert sorted(row.boxes) == sorted(row.labels)
        assert all(row.boxes.count(image) == 3 for image in row.boxes)
    assert sorted(image for row in seen for image in row.boxes) == sorted(ids)
