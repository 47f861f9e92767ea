"""Stage extract: what it types, keeps and counts."""

import csv

import pytest

from ml import storage
from ml.errors import DataError
from ml.workflow.opening import open_run
from support.spark_stages import MIDS, do, rows


def test_extract_keeps_the_classes_that_matter_and_counts_all(spark, done, sample_release):
    manifest = done.pinned("extract")
    kept = rows(spark, done, "extract", "boxes")
    assert {row["name"] for row in kept} <= set(MIDS)
    lines = sum(len((p.read_text()).splitlines()) - 1 for p in sample_release.rglob("*-annotations-bbox.csv"))
    assert manifest.metrics["rows"]["boxes"] == lines == sum(manifest.ledger.values())
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
    bad = "00aa,verification,/m/0dzct,maybe\n00ab,verification,/m/0dzct,\n00bb,verification,/m/unknown,1\n"
    file.write_text(file.read_text() + bad)
    run = do(spark, open_run(str(tmp_path / "storage"), "run", {"release": str(release_copy)}), "extract")
    assert run.pinned("extract").metrics["labels"] == {"repeated": 0, "no verdict": 2, "unknown class": 1}


def test_too_many_invalid_boxes_stop_the_run_and_name_one(spark, release_copy, tmp_path):
    file = release_copy / "v5" / "test-annotations-bbox.csv"
    bad = f"00aa,xclick,{MIDS['Human face']},1,0.9,0.1,0.1,0.2,0,0,0,0,0\n"
    file.write_text(file.read_text() + bad * 200)
    run = open_run(str(tmp_path / "storage"), "run", {"release": str(release_copy)})
    with pytest.raises(DataError, match=r"200 of \d+ boxes.*test 00aa Human face"):
        do(spark, run, "extract")


def test_a_release_without_the_chipped_class_says_so(spark, opened):
    with pytest.raises(DataError, match="no box of class 'Tree'"):
        do(spark, opened(chip_class="Tree"), "extract")


def test_miap_is_counted_with_its_nulls_words_and_other_classes(spark, release_copy, tmp_path):
    file = release_copy / "open_images_extended_miap/open_images_extended_miap_boxes_test.csv"
    rows_before = len(file.read_text().splitlines()) - 1
    edges = "1,0.1,0.2,0.1,0.2,0,0,0,0,0"
    bad = (f"00aa,/m/01g317,{edges},unsure,", f"00ab,/m/04yx4,{edges},Unknown,Young", f"00ac,/m/01g317,{edges},,Young")
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
    assert (kept["00aa"]["gender_presentation"], kept["00aa"]["age_presentation"]) == ("Unknown", "Unknown")


def test_too_many_invalid_miap_boxes_stop_the_run(spark, release_copy, tmp_path):
    file = release_copy / "open_images_extended_miap/open_images_extended_miap_boxes_test.csv"
    bad = "00aa,/m/01g317,1,0.9,0.1,0.1,0.2,0,0,0,0,0,Unknown,Young\n"
    file.write_text(file.read_text() + bad * 200)
    run = open_run(str(tmp_path / "storage"), "run", {"release": str(release_copy)})
    with pytest.raises(DataError, match=r"200 of \d+ MIAP boxes.*test 00aa"):
        do(spark, run, "extract")
