"""Whatever version a release is laid out as, the same content gives the same rows and the same faces."""

import csv
import io

import pyarrow.parquet as pq
import pytest

from ml import storage
from ml.config.training import TrainingConfig
from ml.flow.records import ExtractRecord
from ml.release.csv_blocks import divide
from ml.release.release import find_release, read_classes
from ml.workflow.folder import read_run_record
from ml.workflow.opening import open_run
from spark_jobs import extract, ranges
from support.blocks import CLASSES, A, B, C, faults, typed
from support.layouts import UNBOXED, write_layout
from support.spark_stages import MIDS, do, rows

VERSIONS = (4, 5, 6, 7)
IMAGE = "o,u,l,p,a,t,1,m,n"


def extracted(release, folder, table):
    """Return the counts and the kept rows of a table, as the tasks of extract leave them."""
    found = find_release(str(release))
    classes = extract.describe(read_classes(found.classes), TrainingConfig())
    parts = tuple(part for part in divide(found.tables) if part.table == table)
    plan = ranges.Plan(parts, classes, str(folder), "release", held=False, all_classes=found.all_classes)
    blocks = [block for place in range(len(parts)) for block in ranges.extract_range(plan, place).blocks]
    kept = pq.read_table(folder / table).sort_by([("image_id", "ascending")])
    return [block.counts for block in blocks], kept


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("table", ["labels", "boxes", "images"])
def test_each_table_keeps_the_same_rows_in_every_version(sample_release, tmp_path, table, version, compressed):
    release = write_layout(sample_release, tmp_path / "release", version, flat=compressed, compressed=compressed)
    counts, kept = extracted(release, tmp_path / "found", table)
    _, expected = extracted(sample_release, tmp_path / "expected", table)
    unboxed = [image == UNBOXED for image in kept.column("image_id").to_pylist()]
    assert sum(unboxed) == (table == "images" and version > 5)
    assert kept.num_rows == expected.num_rows + sum(unboxed)
    found, wanted = (sorted(map(repr, rows.to_pylist())) for rows in (kept, expected))
    assert [row for row in found if UNBOXED not in row] == wanted
    assert sum(count.quarantined for count in counts) == 0
    assert sum(count.other_classes for count in counts) == (6 if table == "labels" and version > 5 else 0)


def test_labels_of_classes_that_need_no_description_are_counted_and_break_nothing():
    lines = (f"{A},v,/m/0dgw9r,1", f"{A},v,{MIDS['Woman']},1", f"{B},v,,1", f"{C},v,/m/0dgw9r,0")
    assert [row[1] for row in faults("labels", *lines)] == [
        "class not described",
        "missing value",
        "class not described",
    ]
    assert [row[1] for row in faults("labels", *lines, all_classes=True)] == ["missing value"]
    found = typed("labels", *lines, all_classes=True)
    assert (found.counts.other_classes, found.counts.unknown_class, found.counts.without_class) == (2, 0, 1)
    assert found.verdicts == {MIDS["Woman"]: (1, 0)}
    assert found.rows.column("image_id").to_pylist() == [A]


def test_a_list_of_all_subsets_is_divided_by_its_column():
    lines = (f"{A},train,{IMAGE},90", f"{B},test,{IMAGE},0", f"{C},elsewhere,{IMAGE},0", f"{C[:-1]}d,,{IMAGE},0")
    found = typed("images", *lines, subset="all")
    assert found.rows.select(["image_id", "subset"]).to_pylist() == [
        {"image_id": A, "subset": "train"},
        {"image_id": B, "subset": "test"},
    ]
    assert faults("images", *lines, subset="all") == [
        (2, "not an allowed value", "Subset", "elsewhere"),
        (3, "missing value", "Subset", ""),
    ]
    assert found.counts.quarantined == 2
    assert len(typed("images", *lines).rows) == 4, "the file's own subset counts where there is one for each"


@pytest.mark.slow
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
def test_the_faces_are_the_same_in_every_layout(
    spark, done, sample_release, tmp_path, caplog, version, flat, compressed
):
    caplog.set_level("INFO")
    release = write_layout(sample_release, tmp_path / "release", version, flat, compressed)
    values = {"release": str(release), "photographs": str(sample_release)}
    run = do(spark, open_run(str(tmp_path / "storage"), "run", values), "extract", "join_labels")
    assert rows(spark, run, "join_labels", "faces") == rows(spark, done, "join_labels", "faces")
    name = "V4 or V5" if flat and version < 6 else f"V{version}"
    assert f"{run.config.release}: Open Images {name}" in caplog.text
    assert [each["version"] for each in read_run_record(run.uri).deliveries] == [name]
    record = run.pinned("extract").record(ExtractRecord)
    assert record.rows["boxes"] == done.pinned("extract").record(ExtractRecord).rows["boxes"]
    assert record.labels.other_classes == (6 if version > 5 else 0)
    assert all(counts.rows == 0 for counts in record.quarantined.values())
    named = storage.read_json(run.pinned("extract").of_deliveries()[0].file("images_by_class.json"))
    assert all(row["mid"] != row["name"] for row in named)


def test_a_title_of_two_lines_is_one_row_whose_rotation_is_kept():
    text = io.StringIO(newline="")
    csv.writer(text).writerow([A, "train", *"oulpa", "first line\nsecond line", *"1mn", "90.0"])
    (row,) = typed("images", text.getvalue().rstrip("\r\n"), f"{B},train,{IMAGE},0").rows.to_pylist()[:1]
    assert (row["image_id"], row["rotation"], row["title"]) == (A, 90, "first line\nsecond line")


def test_a_compressed_table_that_is_cut_short_is_named(sample_release, tmp_path):
    release = write_layout(sample_release, tmp_path / "release", version=5, compressed=True)
    file = release / "v5/test-annotations-bbox.csv.gz"
    file.write_bytes(file.read_bytes()[:-20])
    parts = tuple(part for part in divide(find_release(str(release)).tables) if part.uri.endswith(file.name))
    plan = ranges.Plan(parts, CLASSES, str(tmp_path), "release", held=False)
    assert "end-of-stream" in ranges.extract_range(plan, 0).unreadable
