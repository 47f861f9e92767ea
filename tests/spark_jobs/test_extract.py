"""Stage extract: what it types, keeps and counts."""

import csv
import gzip

import pyarrow.parquet as pq
import pytest

from ml import storage
from ml.config.training import TrainingConfig
from ml.errors import DataError, ResourceError
from ml.flow.records import ExtractRecord
from ml.flow.table import STAGES
from ml.release import contract, csv_blocks
from ml.release.release import find_release, read_classes
from ml.workflow.execution import run_stage
from ml.workflow.opening import open_run
from spark_jobs import extract, ranges
from support.blocks import A, B, C
from support.outputs import faults_of
from support.spark_stages import MIDS, do, rows

TEST_BOXES = "v5/test-annotations-bbox.csv"
TEST_IMAGES = "2018_04/test/test-images-with-rotation.csv"
BOXES_REFUSED = (
    r"Table boxes: 200 of \d+ rows break the data contract, more than max_fault_share = 0.1 allows. "
    r"The rule broken most is `edges in the wrong order` \(200 rows\). "
    r"v5/test-annotations-bbox.csv, line \d+: XMin,XMax is '0.9,0.1'; .*; .*quarantine/part-0.parquet"
)


def test_extract_keeps_the_classes_that_matter_and_counts_all(spark, done, sample_release):
    manifest = done.pinned("extract")
    kept = rows(spark, done, "extract", "boxes")
    assert {row["name"] for row in kept} <= set(MIDS)
    lines = sum(len((p.read_text()).splitlines()) - 1 for p in sample_release.rglob("*-annotations-bbox.csv"))
    assert manifest.metrics["rows"]["boxes"] == lines == sum(manifest.ledger.values())
    assert {table: counts["rows"] for table, counts in manifest.metrics["quarantined"].items()} == dict.fromkeys(
        ("labels", "boxes", "images", "miap"), 0
    )
    assert manifest.rows("quarantine") == 0
    assert manifest.rows("boxes") == manifest.ledger["boxes of the classes that matter"]
    assert manifest.rows("images") == manifest.metrics["rows"]["images"]


def test_images_by_class_counts_images_not_rows(spark, done, sample_release):
    verdicts = {}
    for file in sample_release.rglob("*imagelabels-boxable.csv"):
        with file.open() as lines:
            for row in csv.DictReader(lines):
                verdicts[row["ImageID"], row["LabelName"]] = row["Confidence"]
    found = storage.read_json(done.pinned("extract").file("images_by_class.json"))
    for entry in found:
        mine = [verdict for (_, mid), verdict in verdicts.items() if mid == entry["mid"]]
        assert (entry["positive"], entry["negative"]) == (mine.count("1"), mine.count("0"))
    assert [entry["positive"] for entry in found] == sorted((e["positive"] for e in found), reverse=True)


def test_labels_without_a_verdict_or_of_an_unknown_class_are_counted_and_not_fatal(spark, release_copy, tmp_path):
    file = release_copy / "v5" / "test-annotations-human-imagelabels-boxable.csv"
    bad = f"{A},verification,/m/0dzct,maybe\n{B},verification,/m/0dzct,\n{B},verification,/m/unknown,1\n"
    file.write_text(file.read_text() + bad)
    run = do(spark, open_run(str(tmp_path / "storage"), "run", {"release": str(release_copy)}), "extract")
    assert run.pinned("extract").metrics["labels"] == {
        "repeated": 0,
        "no verdict": 2,
        "unknown class": 1,
        "other classes": 0,
    }


def test_too_many_invalid_boxes_stop_the_run_and_name_one(spark, release_copy, tmp_path):
    file = release_copy / "v5" / "test-annotations-bbox.csv"
    bad = f"{A},xclick,{MIDS['Human face']},1,0.9,0.1,0.1,0.2,0,0,0,0,0\n"
    file.write_text(file.read_text() + bad * 200)
    run = open_run(str(tmp_path / "storage"), "run", {"release": str(release_copy)})
    with pytest.raises(DataError, match=BOXES_REFUSED):
        do(spark, run, "extract")


def test_a_release_without_the_chipped_class_says_so(spark, opened):
    with pytest.raises(DataError, match="no box of class 'Tree'"):
        do(spark, opened(chip_class="Tree"), "extract")


def test_miap_is_counted_with_its_nulls_words_and_other_classes(spark, release_copy, tmp_path):
    file = release_copy / "open_images_extended_miap/open_images_extended_miap_boxes_test.csv"
    rows_before = len(file.read_text().splitlines()) - 1
    edges = "1,0.1,0.2,0.1,0.2,0,0,0,0,0"
    bad = (f"{A},/m/01g317,{edges},unsure,", f"{B},/m/04yx4,{edges},Unknown,Young", f"{C},/m/01g317,{edges},,Young")
    file.write_text(file.read_text() + "\n".join(bad) + "\n")
    run = do(spark, open_run(str(tmp_path / "storage"), "run", {"release": str(release_copy)}), "extract")
    metrics = run.pinned("extract").metrics
    seen = metrics["miap"]
    assert (seen["no gender_presentation"], seen["no age_presentation"], seen["other classes"]) == (2, 1, 1)
    assert seen["kept"] == metrics["rows"]["miap"] - 1 == run.pinned("extract").rows("miap")
    assert metrics["nulls"]["miap"]["GenderPresentation"] == {"null": 1, "empty": 0, "nan": 0}
    kept = {row["image_id"]: row for row in rows(spark, run, "extract", "miap") if row["subset"] == "test"}
    assert len(rows(spark, run, "extract", "miap")) == seen["kept"]
    assert rows_before
    assert (kept[A]["gender_presentation"], kept[A]["age_presentation"]) == ("Unknown", "Unknown")


def test_too_many_invalid_miap_boxes_stop_the_run(spark, release_copy, tmp_path):
    file = release_copy / "open_images_extended_miap/open_images_extended_miap_boxes_test.csv"
    bad = f"{A},/m/01g317,1,0.9,0.1,0.1,0.2,0,0,0,0,0,Unknown,Young\n"
    file.write_text(file.read_text() + bad * 200)
    run = open_run(str(tmp_path / "storage"), "run", {"release": str(release_copy)})
    with pytest.raises(DataError, match=r"Table miap: 200 of \d+ rows.*`edges in the wrong order` \(200 rows\)"):
        do(spark, run, "extract")


def extracted(spark, release, root, **values):
    return do(spark, open_run(str(root), "run", {"release": str(release), **values}), "extract")


def content(run):
    """Each file of the attempt by path, with the rows of a Parquet file in order."""
    manifest = run.pinned("extract")
    (part,) = manifest.of_deliveries()
    return {
        file.path: pq.read_table(storage.local_path(storage.join(part.uri, file.path))).to_pydict()
        if file.path.endswith(".parquet")
        else storage.read_json(storage.join(part.uri, file.path))
        for file in part.files
        if file.path.endswith(".parquet") or file.path == "images_by_class.json"
    }


def append(file, *lines):
    file.write_text(file.read_text() + "".join(f"{line}\n" for line in lines))


def test_broken_rows_are_in_the_quarantine_with_their_line_and_counted(spark, release_copy, tmp_path):
    boxes, images = release_copy / TEST_BOXES, release_copy / TEST_IMAGES
    box_lines, image_lines = (len(file.read_text().splitlines()) for file in (boxes, images))
    first = images.read_text().splitlines()[1]
    face = f"{A},xclick,{MIDS['Human face']},1"
    append(boxes, f"{face},0.9,0.1,0.1,0.2,0,0,0,0,0", boxes.read_text().splitlines()[0], f"{face},0.1")
    append(images, first)
    run = extracted(spark, release_copy, tmp_path / "storage")
    found = [tuple(row.values()) for row in rows(spark, run, "extract", "quarantine")]
    place = ("boxes", TEST_BOXES)
    assert found == [
        (*place, box_lines + 1, "edges in the wrong order", "XMin,XMax", "0.9,0.1"),
        (*place, box_lines + 2, "header inside the file", None, boxes.read_text().splitlines()[0]),
        (*place, box_lines + 3, "wrong number of fields", None, f"{face},0.1"),
        ("images", TEST_IMAGES, image_lines + 1, "repeated key", "ImageID", first.split(",")[0]),
    ]
    manifest = run.pinned("extract")
    assert faults_of(manifest) == [], "rows that are kept though broken are marked"
    record = manifest.record(ExtractRecord)
    assert record.quarantined["boxes"].rows == 3
    assert record.quarantined["images"].by_rule == {"repeated key": 1}
    assert manifest.ledger["quarantined boxes: header inside the file"] == 1
    assert sum(count for name, count in manifest.ledger.items() if name.startswith("boxes ")) == record.rows["boxes"]


def test_the_boxes_that_the_run_uses_may_be_too_broken_though_few_among_all(spark, release_copy, tmp_path):
    face = f"{A},xclick,{MIDS['Human face']},1,0.9,0.1,0.1,0.2,0,0,0,0,0"
    cat = f"{A},xclick,{MIDS['Man']},1,0.1,0.2,0.1,0.2,0,0,0,0,0".replace(MIDS["Man"], "/m/01yrx")
    append(release_copy / TEST_BOXES, *[face] * 50, *[cat] * 600)
    with pytest.raises(DataError, match=r"Table boxes: 50 of \d+ rows of the classes used break"):
        extracted(spark, release_copy, tmp_path / "storage")


def test_the_content_is_the_same_whatever_the_number_of_tasks(spark, sample_release, done, tmp_path, monkeypatch):
    monkeypatch.setattr(ranges, "SMALL_TASK", 1)
    assert content(extracted(spark, sample_release, tmp_path / "storage")) == content(done)


def test_a_repeated_task_replaces_its_own_part(sample_release, tmp_path):
    release = find_release(str(sample_release))
    classes = extract.describe(read_classes(release.classes), TrainingConfig())
    plan = ranges.Plan(tuple(csv_blocks.divide(release.tables)), classes, str(tmp_path), "release", held=False)
    results = [ranges.extract_range(plan, place) for place in (0, 0, 1)]
    assert results[0] == results[1]
    assert sorted(storage.list_files(str(tmp_path))) == [f"labels/part-0000{n}-0000.parquet" for n in (0, 1)]


def test_files_are_cut_into_ranges_and_those_with_quoted_line_breaks_read_whole(
    spark, release_copy, done, tmp_path, monkeypatch, caplog
):
    caplog.set_level("INFO")
    monkeypatch.setattr(csv_blocks, "RANGE_BYTES", 2000)
    monkeypatch.setattr(extract, "divide", lambda tables: csv_blocks.divide(tables, 2000))
    images = release_copy / TEST_IMAGES
    text = images.read_text()
    fields = text.splitlines()[1].split(",")
    title = f'"line one\n{"x" * 1200}\n{"y" * 1200}"'
    more = ",".join([A, *fields[1:7], title, *fields[-4:-1], "45"])
    append(images, more)
    run = extracted(spark, release_copy, tmp_path / "storage")
    assert "quoted fields hold line breaks" in caplog.text
    before, after = content(done), content(run)
    for table in ("labels", "boxes", "miap"):
        assert len(run.pinned("extract").table(table)) > len(done.pinned("extract").table(table))
        assert joined(after, table) == joined(before, table)
    added = {row["image_id"]: row for row in rows(spark, run, "extract", "images")}[A]
    assert added["title"] == title.strip('"')
    assert len(rows(spark, run, "extract", "images")) == len(rows(spark, done, "extract", "images")) + 1
    (broken,) = rows(spark, run, "extract", "quarantine")
    assert (broken["rule"], broken["value"], broken["line"]) == ("not an allowed value", "45", text.count("\n") + 1)


def joined(files, table):
    parts = [columns for path, columns in sorted(files.items()) if path.startswith(f"{table}/")]
    return {name: [value for part in parts for value in part[name]] for name in parts[0]}


def test_compressed_files_are_read(spark, release_copy, done, tmp_path):
    for file in [*release_copy.rglob("*-bbox.csv"), *release_copy.rglob("*-with-rotation.csv")]:
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    assert content(extracted(spark, release_copy, tmp_path / "storage")) == content(done)


def test_row_counts_unlike_the_published_ones_are_reported_and_not_fatal(
    spark, sample_release, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(contract, "PUBLISHED_ROWS", {"images": {"train": 40, "validation": 10, "test": 12}})
    run = extracted(spark, sample_release, tmp_path / "storage")
    found = run.pinned("extract").record(ExtractRecord).unlike_published
    assert {row.table for row in found} == {"images"}
    assert all(row.rows != row.published for row in found)
    assert "but Open Images V5 has" in caplog.text


def test_a_disk_that_is_full_in_a_task_is_a_lack_of_space(spark, opened):
    def fill(_):
        with open("/dev/full", "wb", buffering=0) as disk:
            disk.write(b"row")

    with pytest.raises(ResourceError, match=r"No space left: .*No space left on device"):
        run_stage(opened(), STAGES["extract"], lambda _: spark.sparkContext.parallelize([0], 1).foreach(fill))
