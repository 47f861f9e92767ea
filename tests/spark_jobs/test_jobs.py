"""The jobs' transforms on a local Spark: what they keep, what they count, and why a face has its label."""

import csv
import json
import math

import cv2
import numpy as np
import pytest
from pyspark.testing import assertDataFrameEqual

from ml import storage
from ml.config.training import TrainingConfig
from ml.errors import DataError, SplitLeakError
from ml.flow.table import STAGES
from ml.release.layout import SUBSETS
from ml.release.release import Release, find_release
from ml.vision import images
from ml.workflow.opening import open_run
from spark_jobs import chip, explore, extract, featurize
from support.spark_stages import BODIES, ELSEWHERE, FACE, LABELS, MIDS, PERSON, box, do, joined, key, rows, truth_of


@pytest.fixture(scope="module")
def done(spark, sample_release, tmp_path_factory):
    """A run on the drawn release with all Spark stages done."""
    root = tmp_path_factory.mktemp("storage")
    run = open_run(str(root), "spark", {"release": str(sample_release), "min_face_size": 24, "chip_size": 48})
    return do(spark, run, *BODIES)


# --- extract


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


# --- explore


def test_explore_gives_the_reports_two_analyses_and_plots(spark, done):
    manifest = done.pinned("explore")
    data = storage.read_json(manifest.file("explore.json"))
    assert len(data["top classes"]) == 10
    assert "Human face" in [row["name"] for row in data["top classes"]]
    assert [row["label"] for row in data["verified images"]] == ["female", "male"]
    assert sum(data["face sizes"]["faces"]) == sum(int(n) * count for n, count in data["faces per image"].items())
    assert {row["1"] + row["0"] + row["-1"] for row in data["boxes by source"] if row["source"] == "activemil"}
    for name in manifest.metrics["plots"].values():
        assert storage.read_bytes(name).startswith(b"\x89PNG")
    assert data["photographs shown"][0]["license"].startswith("https://")


def test_good_and_bad_images_are_told_by_their_verdicts(spark):
    labels = [
        *(("good", "Human face", True), ("good", "Woman", True)),
        *(("bad", "Human face", True), ("bad", "Woman", True), ("bad", "Man", False)),
        *(("both", "Human face", True), ("both", "Woman", True), ("both", "Boy", True)),
        *(("no face", "Woman", True), ("no label", "Human face", True)),
    ]
    table = spark.createDataFrame(
        [(image, name, LABELS.get(name), positive) for image, name, positive in labels],
        "image_id string, name string, label string, positive boolean",
    )
    assert explore.verified_images(table, TrainingConfig()) == [
        {"label": "female", "all positive": 2, "with a negative": 1},
        {"label": "male", "all positive": 1, "with a negative": 0},
    ]


# --- join_labels


HALF, WIDE = (0.45, 0.6, 0.0, 0.9), (0.0, 1.0, 0.0, 1.0)


BOX_CASES = [  # person boxes, the face's own flags, verified negatives; the reason and the label
    ([("Woman", PERSON)], {}, [], "labelled", "female"),
    ([("Boy", PERSON)], {}, [], "labelled", "male"),
    ([("Boy", PERSON, {"group": -1, "depiction": -1, "source": "activemil"})], {}, [], "labelled", "male"),
    ([], {}, [], "no person box", None),
    ([("Woman", ELSEWHERE)], {}, [], "no person box", None),
    ([("Woman", HALF)], {}, [], "no person box", None),
    ([("Woman", PERSON, {"group": 1})], {}, [], "no person box", None),
    ([("Woman", PERSON, {"depiction": 1})], {}, [], "no person box", None),
    ([("Woman", PERSON, {"valid": False})], {}, [], "no person box", None),
    ([("Woman", PERSON), ("Man", (0.0, 1.0, 0.0, 1.0))], {}, [], "two labels", None),
    ([("Woman", PERSON), ("Girl", (0.0, 1.0, 0.0, 1.0))], {}, [], "labelled", "female"),
    ([("Woman", PERSON)], {}, ["Woman"], "contradicted by a verified negative", None),
    ([("Woman", PERSON)], {}, ["Girl", "Man"], "labelled", "female"),
    ([("Woman", PERSON), ("Girl", (0.0, 1.0, 0.0, 1.0))], {}, ["Girl"], "labelled", "female"),
    ([("Woman", PERSON)], {"group": 1}, [], "group", None),
    ([("Woman", PERSON)], {"depiction": 1}, [], "depiction", None),
    ([("Woman", PERSON)], {"group": -1, "depiction": -1}, [], "labelled", "female"),
    ([("Woman", PERSON)], {"valid": False}, [], "invalid box", None),
]


@pytest.fixture(scope="module")
def labelled_by_box(spark):
    """All cases in one job, an image each."""
    boxes, verdicts = [], []
    for number, (people, face, negatives, *_) in enumerate(BOX_CASES):
        boxes.append(box(f"case{number}", "Human face", FACE, **face))
        for name, edges, *extra in people:
            boxes.append(box(f"case{number}", name, edges, **(extra[0] if extra else {})))
        verdicts += [(f"case{number}", name, False) for name in negatives]
    listed = [f"case{number}" for number in range(len(BOX_CASES))]
    return {row.image_id: row for row in joined(spark, boxes, verdicts, listed)}


@pytest.mark.parametrize("number", range(len(BOX_CASES)))
def test_label_by_box(labelled_by_box, number):
    *_, reason, label = BOX_CASES[number]
    row = labelled_by_box[f"case{number}"]
    assert (row.reason, row.label) == (reason, label)
    sourced = ("labelled", "two labels", "contradicted by a verified negative")
    assert (row.source_class is not None) == (reason in sourced)


def test_the_smallest_box_is_the_source(spark):
    small = (0.39, 0.51, 0.09, 0.3)
    row = joined(spark, [box("a", "Human face", FACE), box("a", "Woman", PERSON), box("a", "Girl", small)])[0]
    assert (row.source_class, row.source_containment) == ("Girl", pytest.approx(1.0))


def test_a_neighbours_box_gives_no_label_and_boxes_of_other_images_do_not_count(spark):
    other = (0.75, 0.85, 0.1, 0.2)
    boxes = [
        *(box("a", "Human face", FACE), box("a", "Human face", other), box("a", "Woman", PERSON)),
        *(box("a", "Man", ELSEWHERE), box("b", "Human face", FACE)),
    ]
    found = {(row.image_id, row.x_min): row.label for row in joined(spark, boxes)}
    assert found == {("a", 0.4): "female", ("a", 0.75): "male", ("b", 0.4): None}


def test_a_repeated_face_is_used_once_and_an_unlisted_image_not_at_all(spark):
    boxes = [box("a", "Human face", FACE)] * 2 + [box("a", "Man", PERSON), box("z", "Human face", FACE)]
    reasons = sorted(row.reason for row in joined(spark, boxes))
    assert reasons == ["image not listed", "labelled", "repeated box"]


def test_label_by_image(spark):
    cases = {
        "a": ([("Woman", True)], "labelled", "female"),
        "b": ([("Woman", True), ("Girl", True), ("Man", False)], "labelled", "female"),
        "c": ([("Woman", True), ("Man", True)], "two image-level labels", None),
        "d": ([("Human face", True), ("Man", False)], "no image-level label", None),
    }
    boxes = [part for image in cases for part in (box(image, "Human face", FACE), box(image, "Man", PERSON))]
    verdicts = [(image, *verdict) for image, (given, *_) in cases.items() for verdict in given]
    for row in joined(spark, boxes, verdicts, label_strategy="image"):
        assert (row.reason, row.label) == cases[row.image_id][1:]


FEMININE, MASCULINE = "Predominantly Feminine", "Predominantly Masculine"
MIAP_CASES = [  # MIAP's person boxes; the reason, the label and the age presentation
    ([(FEMININE, "Young", PERSON)], "labelled", "female", "Young"),
    ([(MASCULINE, "Older", PERSON)], "labelled", "male", "Older"),
    ([(MASCULINE, "Older", PERSON, {"group": -1, "depiction": -1})], "labelled", "male", "Older"),
    ([], "no MIAP person box", None, None),
    ([(FEMININE, "Young", HALF)], "no MIAP person box", None, None),
    ([(FEMININE, "Young", PERSON, {"group": 1})], "no MIAP person box", None, None),
    ([(FEMININE, "Young", PERSON, {"depiction": 1})], "no MIAP person box", None, None),
    ([(FEMININE, "Young", PERSON, {"valid": False})], "no MIAP person box", None, None),
    ([("Unknown", "Young", PERSON)], "MIAP presentation unknown", None, "Young"),
    ([(FEMININE, "Young", PERSON), (MASCULINE, "Older", WIDE)], "two labels", None, None),
    ([(FEMININE, "Young", PERSON), (FEMININE, "Older", WIDE)], "labelled", "female", "Young"),
    ([(FEMININE, "Young", WIDE), ("Unknown", "Middle", PERSON)], "MIAP presentation unknown", None, "Middle"),
    ([(FEMININE, "Young", PERSON), ("Unknown", "Middle", WIDE)], "labelled", "female", "Young"),
]
MIAP_SCHEMA = (
    "image_id string, subset string, x_min double, x_max double, y_min double, y_max double, is_group_of tinyint, "
    "is_depiction tinyint, valid boolean, gender_presentation string, age_presentation string"
)


def miap_box(image, gender, age, edges, group=0, depiction=0, valid=True):
    return (image, "train", *edges, group, depiction, valid, gender, age)


@pytest.fixture(scope="module")
def labelled_by_miap(spark):
    boxes = [box(f"case{number}", "Human face", FACE) for number in range(len(MIAP_CASES))]
    people = [
        miap_box(f"case{number}", gender, age, edges, **(flags[0] if flags else {}))
        for number, (case, *_) in enumerate(MIAP_CASES)
        for gender, age, edges, *flags in case
    ]
    listed = [f"case{number}" for number in range(len(MIAP_CASES))]
    table = spark.createDataFrame(people, MIAP_SCHEMA)
    return {row.image_id: row for row in joined(spark, boxes, (), listed, miap=table, label_strategy="miap")}


@pytest.mark.parametrize("number", range(len(MIAP_CASES)))
def test_label_by_miap(labelled_by_miap, number):
    _, *expected = MIAP_CASES[number]
    row = labelled_by_miap[f"case{number}"]
    assert [row.reason, row.label, row.age_presentation] == expected
    assert row.miap_label == row.label


def test_every_strategy_says_its_own_beside_the_chosen_one(spark):
    boxes = [*(box("a", "Human face", FACE), box("a", "Man", PERSON)), box("b", "Human face", FACE)]
    table = spark.createDataFrame([miap_box("a", FEMININE, "Older", PERSON)], MIAP_SCHEMA)
    for strategy, label in (("box", "male"), ("image", "female"), ("miap", "female")):
        first, second = joined(spark, boxes, [("a", "Woman", True)], miap=table, label_strategy=strategy)
        said = (first.label_by_box, first.label_by_image, first.miap_label, first.age_presentation)
        assert said == ("male", "female", "female", "Older")
        assert (first.label, second.label, second.miap_label, second.age_presentation) == (label, None, None, None)


def test_agreement_with_miap_by_split_and_strategy(spark, done, sample_release):
    """Told by the truth alone: MIAP never errs in the drawn release, and strategy `box` never either."""
    table = done.pinned("join_labels").metrics["miap"]
    assert table.keys() == set(SUBSETS)
    faces = rows(spark, done, "join_labels", "faces")
    for subset in SUBSETS:
        labelled = [row for row in faces if row["label"] and row["subset"] == subset]
        unknown = sum(row["miap_label"] is None for row in labelled)
        assert table[subset]["box"] == {
            "agree": len(labelled) - unknown,
            "disagree": 0,
            "miap unknown": unknown,
        }
    assert sum(table[subset]["image"]["agree"] for subset in SUBSETS) > 0
    assert sum(table[subset]["box"]["miap unknown"] for subset in SUBSETS) > 0
    truth = {key(row["ImageID"], *(row[e] for e in extract.EDGES)): row for row in truth_of(sample_release)}
    ages = set()
    for row in faces:
        real = truth[key(row["image_id"], *(row[e] for e in ("x_min", "x_max", "y_min", "y_max")))]
        assert row["miap_label"] in (real["label"], None)
        if row["label"]:
            assert row["age_presentation"] in (real["age"], "Unknown")
            ages.add(row["age_presentation"])
    assert ages == {"Young", "Middle", "Older", "Unknown"}


def test_the_agreement_is_the_same_whichever_strategy_labels(spark, done):
    for strategy in ("image", "miap"):
        run = open_run(done.root, strategy, done.config.model_copy(update={"label_strategy": strategy}).model_dump())
        manifest = do(spark, run, "extract", "join_labels").pinned("join_labels")
        assert manifest.metrics["miap"] == done.pinned("join_labels").metrics["miap"]
        assert sum(manifest.ledger.values()) == manifest.metrics["faces"]
    assert manifest.ledger["MIAP presentation unknown"] > 0


def test_labels_that_are_no_presentations_and_releases_without_miap_go_without(spark, release_copy, tmp_path):
    labels = {"adult": ["Man", "Woman"], "child": ["Boy", "Girl"]}
    (release_copy / "open_images_extended_miap/open_images_extended_miap_boxes_train.csv").unlink()
    root = str(tmp_path / "storage")
    other = open_run(root, "other", {"release": str(release_copy), "labels": labels})
    assert do(spark, other, "extract", "join_labels").pinned("join_labels").metrics["miap"] is None
    partly = do(spark, open_run(root, "partly", {"release": str(release_copy)}), "extract", "join_labels")
    assert partly.pinned("join_labels").metrics["miap"].keys() == {"validation", "test"}
    for file in (release_copy / "open_images_extended_miap").iterdir():
        file.unlink()
    without = do(spark, open_run(root, "without", {"release": str(release_copy)}), "extract", "join_labels")
    assert "miap" not in without.pinned("extract").metrics
    assert not without.pinned("extract").table("miap")
    assert without.pinned("join_labels").metrics["miap"] is None
    for run in (other, without):
        faces = rows(spark, run, "join_labels", "faces")
        assert {(row["miap_label"], row["age_presentation"]) for row in faces} == {(None, None)}


def test_the_image_limit_chooses_the_same_images_each_time_and_counts_the_others(spark):
    boxes = [
        part
        for image in "abcd"
        for part in (box(image, "Human face", FACE), box(image, "Man", PERSON), box(image, "Human face", ELSEWHERE))
    ]
    first, again = (joined(spark, order, images_per_label=2) for order in (boxes, boxes[::-1]))
    chosen = {row.image_id for row in first if row.label}
    assert len(chosen) == 2
    assert chosen == {row.image_id for row in again if row.label}
    assert sum(row.reason == "over the image limit" for row in first) == 2
    assert sum(row.reason == "no person box" for row in first) == 4


def test_the_labels_of_the_drawn_release_are_true_and_its_ledger_adds_up(spark, done, sample_release):
    truth = {key(row["ImageID"], *(row[e] for e in extract.EDGES)): row for row in truth_of(sample_release)}
    faces = {
        key(row["image_id"], *(row[e] for e in ("x_min", "x_max", "y_min", "y_max"))): row
        for row in rows(spark, done, "join_labels", "faces")
    }
    assert faces.keys() == truth.keys()
    assert sum(done.pinned("join_labels").ledger.values()) == len(truth)
    given = {k: row for k, row in faces.items() if row["label"]}
    assert all(row["label"] == truth[k]["label"] for k, row in given.items())
    assert not [k for k in given if truth[k]["kind"] != "labelled"]
    labelled = [k for k, row in truth.items() if row["kind"] == "labelled"]
    assert sum(k in given for k in labelled) >= 0.9 * len(labelled)


# --- chip


def test_chips_and_their_ledger(spark, done):
    manifest, labelled = done.pinned("chip"), done.pinned("join_labels").ledger["labelled"]
    assert sum(manifest.ledger.values()) == labelled
    assert manifest.ledger["image absent"] > 0
    assert manifest.ledger["image unreadable"] > 0
    chips = rows(spark, done, "chip", "chips")
    assert len(chips) == manifest.ledger["chipped"]
    for row in chips:
        pixels = images.decode(row["chip"])
        assert pixels.shape[0] == pixels.shape[1] <= images.STORED_SIDE
        assert row["face_px"] >= 24


def test_a_photograph_is_decoded_once_for_all_its_faces(sample_release, monkeypatch):
    release = find_release(str(sample_release))
    photo = next(photo for photo in sorted((sample_release / "train").glob("*.jpg")) if whole(photo))
    decoded = []
    decode = images.decode
    monkeypatch.setattr(images, "decode", lambda data: decoded.append(len(data)) or decode(data))
    face = dict.fromkeys(chip.CARRIED)
    faces = [face | {"x_min": x, "x_max": x + 0.2, "y_min": 0.1, "y_max": 0.3} for x in (0.1, 0.4, 0.7)]
    faces.append(face | {"x_min": 0.1, "x_max": 0.11, "y_min": 0.1, "y_max": 0.3})
    image = {"image_id": photo.stem, "subset": "train", "rotation": None, "faces": faces}
    made = chip.cut_image(image, release, margin=0.2, min_face_size=16)
    assert len(decoded) == 1
    assert [row["status"] for row in made] == ["chipped"] * 3 + ["too small"]
    assert [row["first"] for row in made] == [True, False, False, False]


def test_photographs_may_lie_behind_http(sample_release, tmp_path):
    import functools
    import http.server
    import threading

    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(sample_release))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        base = f"http://127.0.0.1:{server.server_port}"
        release = Release("", base, "", {})
        face = dict.fromkeys(chip.CARRIED)
        face |= {"x_min": 0.1, "x_max": 0.5, "y_min": 0.1, "y_max": 0.5}
        image = {"image_id": "0" * 16, "subset": "train", "rotation": 0, "faces": [face]}
        assert chip.cut_image(image, release, 0.2, 16)[0]["status"] == "image absent"
        image["image_id"] = next(p.stem for p in (sample_release / "train").glob("*.jpg") if whole(p))
        assert chip.cut_image(image, release, 0.2, 16)[0]["status"] == "chipped"
    finally:
        server.shutdown()


def whole(photo):
    try:
        return images.decode(photo.read_bytes()) is not None
    except images.UnreadableImageError:
        return False


def test_chips_of_photographs_stored_turned_are_upright(spark, release_copy, tmp_path):
    """Each photograph is replaced by one that is red above and blue below once it is turned by its Rotation."""
    turned = {}
    for listing in release_copy.rglob("*with-rotation.csv"):
        with listing.open() as file:
            turned |= {row["ImageID"]: int(float(row["Rotation"] or 0)) for row in csv.DictReader(file)}
    upright = np.zeros((600, 600, 3), np.uint8)
    upright[:300, :, 0] = upright[300:, :, 2] = 250
    for photo in [path for subset in SUBSETS for path in (release_copy / subset).glob("*.jpg")]:
        photo.write_bytes(images.encode_jpeg(np.rot90(upright, -turned[photo.stem] // 90)))
    boxes = [
        (image, subset, 0.3, 0.7, 0.3, 0.7, rotation)
        for subset in SUBSETS
        for image, rotation in turned.items()
        if (release_copy / subset / f"{image}.jpg").exists()
    ]
    faces = spark.createDataFrame(
        boxes,
        "image_id string, subset string, x_min double, x_max double, y_min double, y_max double, rotation int",
    ).selectExpr(
        *("*", "image_id face_id", "'labelled' reason", "'male' label", "'xclick' source", "0Y is_occluded"),
        *("0Y is_truncated", "'male' miap_label", "'Older' age_presentation"),
    )
    chips = chip.cut_chips(chip.group_by_image(faces, 2), find_release(str(release_copy)), TrainingConfig()).collect()
    assert {row.rotation for row in chips} == {0, 90, 180, 270}
    for row in chips:
        pixels = images.decode(row.chip).astype(int)
        half = len(pixels) // 2
        above, below = pixels[: half - 4].mean(axis=(0, 1)), pixels[half + 4 :].mean(axis=(0, 1))
        assert above[0] > 200 > 50 > above[2], row.rotation
        assert below[2] > 200 > 50 > below[0], row.rotation
        assert (row.miap_label, row.age_presentation) == ("male", "Older")


def test_too_many_absent_photographs_stop_the_run(spark, release_copy, tmp_path):
    for photo in (release_copy / "train").glob("*.jpg"):
        photo.unlink()
    run = open_run(str(tmp_path / "storage"), "run", {"release": str(release_copy)})
    with pytest.raises(DataError, match=r"image absent \(such as train/[0-9a-f]{16}\.jpg\)"):
        do(spark, run, "extract", "join_labels", "chip")
    assert run.find_or_adopt(STAGES["chip"]) is None


# --- featurize


def test_features_hold_every_chip_once_as_raw_pixels_of_the_right_size(spark, done):
    manifest = done.pinned("featurize")
    assert sum(manifest.ledger.values()) == done.pinned("chip").ledger["chipped"]
    found = rows(spark, done, "featurize", "features")
    assert len({row["face_id"] for row in found}) == len(found) == sum(manifest.ledger.values())
    chips = {row["face_id"]: row for row in rows(spark, done, "chip", "chips")}
    order = manifest.metrics["labels"]
    assert order == ["female", "male"]
    for row in found:
        source = chips[row["face_id"]]
        assert order[row["label"]] == source["label"]
        expected = images.tensor(source["chip"], 48)
        np.testing.assert_array_equal(np.frombuffer(row["pixels"], np.uint8).reshape(48, 48, 3), expected)
        luma = cv2.cvtColor(expected, cv2.COLOR_RGB2GRAY).mean() / 255  # BT.601, each pixel rounded
        assert row["brightness"] == pytest.approx(luma, abs=0.003)
        for name in ("miap_label", "age_presentation", "rotation", "face_px", "is_occluded", "source"):
            assert row[name] == source[name]


def test_features_state_their_counts_and_channel_sums(spark, done):
    manifest = done.pinned("featurize")
    for split in SUBSETS:
        found = list(
            spark.read.option("recursiveFileLookup", True).parquet(*manifest.table(f"features/split={split}")).collect()
        )
        counts = [sum(row.label == index for row in found) for index in (0, 1)]
        assert list(manifest.metrics["faces"][split].values()) == counts
        pixels = np.stack([np.frombuffer(row.pixels, np.uint8).reshape(-1, 3) for row in found])
        assert manifest.metrics["channel_sums"][split] == pixels.sum(axis=(0, 1), dtype=np.int64).tolist()


def test_the_order_of_faces_is_shuffled_by_seed_and_the_same_each_time(spark):
    chips = spark.range(200).selectExpr("cast(id as string) face_id", "'train' split")
    orders = [[row.face_id for row in featurize.shuffle(chips, seed, 1).collect()] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != sorted(orders[0])


def test_the_digest_split_keeps_its_shares_and_has_nothing_to_do_with_the_image_limit(spark):
    config = TrainingConfig(split="digest", validation_share=0.2, test_share=0.1)
    table = spark.range(4000).selectExpr("cast(id as string) image_id").withColumn("split", featurize.split_of(config))
    shares = {row.split: row["count"] / 4000 for row in table.groupBy("split").count().collect()}
    for split, share in {"train": 0.7, "validation": 0.2, "test": 0.1}.items():
        assert shares[split] == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 4000))
    lowest = table.selectExpr("split", "sha2(concat('limit:', image_id), 256) d").orderBy("d").limit(500)
    assert lowest.where("split = 'test'").count() / 500 == pytest.approx(0.1, abs=0.06)


def test_an_image_on_two_sides_of_the_split_is_refused(spark, release_copy, tmp_path):
    """The trap itself: an image listed, with its boxes, in both train and test."""
    train = release_copy / "2018_04/train/train-annotations-bbox.csv"
    listing = release_copy / "2018_04/train/train-images-boxable-with-rotation.csv"
    with train.open() as file:
        image = next(
            row["ImageID"]
            for row in csv.DictReader(file)
            if row["LabelName"] == MIDS["Human face"] and whole_of(release_copy, row["ImageID"])
        )
    for source, target in (
        (train, release_copy / "v5/test-annotations-bbox.csv"),
        (listing, release_copy / "2018_04/test/test-images-with-rotation.csv"),
    ):
        copied = [line for line in source.read_text().splitlines() if line.startswith(image)]
        target.write_text(target.read_text() + "\n".join(copied) + "\n")
    (release_copy / "test" / f"{image}.jpg").write_bytes((release_copy / "train" / f"{image}.jpg").read_bytes())
    run = open_run(str(tmp_path / "storage"), "run", {"release": str(release_copy)})
    do(spark, run, "extract", "join_labels", "chip")
    with pytest.raises(SplitLeakError, match=image):
        do(spark, run, "featurize")
    # By digest the same image falls on one side, whatever the lists say.
    digest = open_run(str(tmp_path / "storage"), "digest", {"release": str(release_copy), "split": "digest"})
    do(spark, digest, "extract", "join_labels", "chip", "featurize")


def whole_of(folder, image):
    photo = folder / "train" / f"{image}.jpg"
    return photo.exists() and whole(photo)


def test_metrics_are_plain_json(done):
    for manifest in done.pins().values():
        json.dumps(manifest.metrics, allow_nan=False)
