"""Stage extract: what it types, keeps and counts."""

import csv

import pytest
from pyspark.testing import assertDataFrameEqual

from ml import storage
from ml.errors import DataError
from ml.workflow.opening import open_run
from spark_jobs import extract
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


def write_csv(path, header, *lines):
    path.write_text("\n".join([header, *lines]) + "\n")
    return {"train": str(path)}


def test_null_empty_and_nan_are_counted_each_by_itself(spark, tmp_path):
    files = write_csv(tmp_path / "t.csv", "ImageID,Author,Size", "a,,1", 'b,"",nan', 'c," ",NaN', 'd,"x, ""y""",2')
    table = extract.read_csv(spark, {k: storage.normalise(v) for k, v in files.items()})
    counts = table.agg(*extract.null_counts(["ImageID", "Author", "Size"])).first().asDict()
    assert counts == {
        **{"null.ImageID": 0, "empty.ImageID": 0, "nan.ImageID": 0},
        **{"null.Author": 1, "empty.Author": 2, "nan.Author": 0},
        **{"null.Size": 0, "empty.Size": 0, "nan.Size": 2},
    }
    assert table.where("ImageID = 'd'").first().Author == 'x, "y"'


def test_columns_are_read_by_name_and_a_missing_rotation_is_unknown(spark, tmp_path):
    header = "Title,ImageID,Subset,OriginalLandingURL,License,Author,More"
    files = write_csv(tmp_path / "t.csv", header, "t,a,train,u,l,w,1")
    images_table = extract.type_images(extract.read_csv(spark, {k: storage.normalise(v) for k, v in files.items()}))
    row = images_table.first()
    assert (row.image_id, row.title, row.author, row.rotation) == ("a", "t", "w", None)


BOX_HEADER = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
)


def test_a_box_is_valid_or_not(spark, tmp_path):
    cases = [
        ("0.1,0.2,0.1,0.2", "0,0,0,0,0", True),
        ("0,1,0,1", "-1,-1,-1,-1,-1", True),
        ("0.2,0.1,0.1,0.2", "0,0,0,0,0", False),
        ("-0.2,1.4,0.1,0.2", "0,0,0,0,0", False),
        ("nan,0.5,0.1,0.2", "0,0,0,0,0", False),
        (",0.5,0.1,0.2", "0,0,0,0,0", False),
        ("XMin,XMax,YMin,YMax", "IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside", False),
        ("0.1,0.2,0.1,0.2", "2,0,0,0,0", False),
        ("0.1,0.2,0.1,0.2", "0,0,,0,0", False),
    ]
    lines = [f"{number},xclick,/m/0dzct,1,{edges},{flags}" for number, (edges, flags, _) in enumerate(cases)]
    files = write_csv(tmp_path / "b.csv", BOX_HEADER, *lines)
    boxes = extract.type_boxes(extract.read_csv(spark, {k: storage.normalise(v) for k, v in files.items()}))
    found = {row.image_id: row.valid for row in boxes.collect()}
    assert found == {str(number): valid for number, (*_, valid) in enumerate(cases)}


def test_an_image_with_both_verdicts_for_a_class_has_the_negative_one(spark, tmp_path):
    files = write_csv(
        tmp_path / "l.csv",
        "ImageID,Source,LabelName,Confidence",
        *("a,v,/m/1,1", "a,c,/m/1,0", "b,v,/m/1,1", "c,v,/m/1,x"),
    )
    labels = extract.type_labels(extract.read_csv(spark, {k: storage.normalise(v) for k, v in files.items()}))
    assertDataFrameEqual(
        labels.select("image_id", "positive", "rows"),
        spark.createDataFrame(
            [("a", False, 2), ("b", True, 1), ("c", None, 1)], "image_id string, positive boolean, rows long"
        ),
    )


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


MIAP_HEADER = (
    "ImageID,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepictionOf,IsInsideOf,"
    "GenderPresentation,AgePresentation"
)


def test_miap_boxes_are_typed_and_words_that_are_none_of_miaps_are_null(spark, tmp_path):
    files = write_csv(
        tmp_path / "m.csv",
        MIAP_HEADER,
        "a,/m/01g317,1,0.1,0.2,0.3,0.4,0,1,-1,1,0,Predominantly Feminine,Older",
        "b,/m/01g317,1,0.1,0.2,0.4,0.3,0,0,0,0,0,female,",
    )
    people = extract.type_miap(extract.read_csv(spark, {k: storage.normalise(v) for k, v in files.items()}))
    first, second = (row.asDict() for row in people.orderBy("image_id").collect())
    flags = {"is_occluded": 0, "is_truncated": 1, "is_group_of": -1, "is_depiction": 1, "is_inside": 0}
    words = {"gender_presentation": "Predominantly Feminine", "age_presentation": "Older"}
    edges = {"x_min": 0.1, "x_max": 0.2, "y_min": 0.3, "y_max": 0.4}
    assert first == {"image_id": "a", "subset": "train", "mid": "/m/01g317", "valid": True, **flags, **words, **edges}
    assert (second["valid"], second["gender_presentation"], second["age_presentation"]) == (False, None, None)


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
