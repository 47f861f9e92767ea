"""Stage join_labels: its labels against the truth of the drawn release, its counts and its image limit."""

import re
from collections import Counter

import pyarrow as pa
import pytest

from ml import storage
from ml.flow.table import STAGES
from ml.photographs.source import SUBSETS
from ml.workflow.execution import make_context
from ml.workflow.opening import open_run
from spark_jobs import buckets, faces, join_labels
from spark_jobs.annotations import EDGES
from spark_jobs.faces import label_faces
from support.spark_stages import (
    ELSEWHERE,
    FACE,
    PERSON,
    box,
    check_lowest_digests,
    do,
    joined,
    key,
    labelled_images,
    limited,
    rows,
    settings,
    tables_of,
    truth_of,
)


def test_agreement_with_miap_by_split_and_strategy(spark, done, sample_release):
    """The truth determines the agreement: in the drawn release, neither MIAP nor strategy `box` errs."""
    table = done.pinned("join_labels").metrics["miap"]
    assert table.keys() == set(SUBSETS)
    found = rows(spark, done, "join_labels", "faces")
    for subset in SUBSETS:
        labelled = [row for row in found if row["label"] and row["subset"] == subset]
        unknown = sum(row["miap_label"] is None for row in labelled)
        assert table[subset]["box"] == {
            "agree": len(labelled) - unknown,
            "disagree": 0,
            "miap unknown": unknown,
        }
    assert sum(table[subset]["image"]["agree"] for subset in SUBSETS) > 0
    assert sum(table[subset]["box"]["miap unknown"] for subset in SUBSETS) > 0
    truth = {key(row["ImageID"], *(row[e] for e in EDGES)): row for row in truth_of(sample_release)}
    ages = set()
    for row in found:
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
        found = rows(spark, run, "join_labels", "faces")
        assert {(row["miap_label"], row["age_presentation"]) for row in found} == {(None, None)}


def test_the_image_limit_chooses_the_same_images_each_time_and_counts_the_others():
    boxes = [
        part
        for image in "abcd"
        for part in (box(image, "Human face", FACE), box(image, "Man", PERSON), box(image, "Human face", ELSEWHERE))
    ]
    first, again = (joined(order, images_per_label=2) for order in (boxes, boxes[::-1]))
    assert first == again
    assert len({row.image_id for row in first if row.label}) == 2
    assert sum(row.reason == "over the image limit" for row in first) == 2
    assert sum(row.reason == "no person box" for row in first) == 4


@pytest.mark.parametrize("buckets", [1, 3])
def test_each_label_keeps_its_images_of_lowest_digest_and_other_faces_count_for_nothing(buckets):
    pairs = [(label, f"{number:016x}") for number in range(40) for label in ("female", "male")[: 1 + number % 2]]
    unlabelled = [f"{number:016x}" for number in range(40, 80)]
    rows = [
        *({"image_id": image, "label": label, "reason": "labelled"} for label, image in pairs * 2),
        *({"image_id": image, "label": None, "reason": "two labels"} for image in unlabelled),
    ]
    schema = pa.schema([(name, pa.string()) for name in ("image_id", "label", "reason")])
    # An image's faces are in one bucket.
    parts = [[row for row in rows if int(row["image_id"], 16) % buckets == number] for number in range(buckets)]
    kept = limited([pa.Table.from_pylist(part, schema) for part in parts], 5)
    found = pa.concat_tables(kept).to_pylist()
    check_lowest_digests(pairs, {(row["label"], row["image_id"]) for row in found if row["label"]}, 5)
    assert Counter(row["reason"] for row in found) == {
        "labelled": 20,
        faces.OVER_LIMIT: 2 * (len(pairs) - 10),
        "two labels": len(unlabelled),
    }


def test_the_image_limit_of_a_run_is_that_of_the_pure_functions(spark, done):
    run = open_run(done.root, "limited", {**done.config.model_dump(), "images_per_label": 6})
    do(spark, run, "extract", "join_labels")
    kept = {(row["label"], row["image_id"]) for row in rows(spark, run, "join_labels", "faces") if row["label"]}
    everything = labelled_images(tables_of(done.pinned("extract")))
    check_lowest_digests(everything, kept, 6)
    ledger = run.pinned("join_labels").ledger
    assert ledger[faces.OVER_LIMIT] + ledger["labelled"] == done.pinned("join_labels").ledger["labelled"]


@pytest.mark.parametrize("images_per_label", [None, 6])
def test_the_plan_has_at_most_two_exchanges(spark, done, tmp_path, images_per_label):
    """Rows are shuffled once, by image. A third exchange would move every face again."""
    run, extracted = make_context(done, STAGES["join_labels"], "one").run, done.pinned("extract")
    asked = settings(miap=True)
    work = join_labels.Work(asked, images_per_label, storage.normalize(tmp_path), label_faces)
    counted = join_labels.label_and_count(spark, join_labels.find_slices(extracted, run, asked), work)
    assert 1 <= exchanges(counted) <= 2
    assert exchanges(counted.groupBy("counts").count().repartition(3).orderBy("counts")) > 2


def exchanges(table):
    """Count the exchanges of all kinds in a plan, also below what is kept for several jobs."""
    # A plan that has been executed also lists the plan that was made before.
    plan, _, _ = table._jdf.queryExecution().executedPlan().toString().partition("== Initial Plan ==")
    return len(re.findall(r"\b\w*Exchange\b", plan))


@pytest.mark.parametrize("partitions", [1, 4])
def test_the_same_rows_give_the_same_files_whatever_the_partitions(spark, done, tmp_path, monkeypatch, partitions):
    """Buckets follow from the rows alone: the same files with the same rows, order and values, byte by byte."""
    monkeypatch.setattr(buckets, "ROWS_PER_BUCKET", 200)
    context, extracted = make_context(done, STAGES["join_labels"], "one"), done.pinned("extract")
    asked = settings(miap=True)

    def written(folder, slices):
        work = join_labels.Work(asked, None, storage.normalize(tmp_path / folder), label_faces)
        counts = [row.counts for row in join_labels.label_and_count(spark, slices, work).collect()]
        return {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()}, sorted(counts)

    slices = join_labels.find_slices(extracted, context.run, asked)
    first = written("first", slices)
    monkeypatch.setattr(buckets, "ROWS_PER_SLICE", 10**9 // 4 ** (partitions * 3))
    assert written("again", slices[::-1]) == first
    assert len(first[0]) > 2


def test_the_labels_of_the_drawn_release_are_true_and_its_ledger_adds_up(spark, done, sample_release):
    truth = {key(row["ImageID"], *(row[e] for e in EDGES)): row for row in truth_of(sample_release)}
    found = {
        key(row["image_id"], *(row[e] for e in ("x_min", "x_max", "y_min", "y_max"))): row
        for row in rows(spark, done, "join_labels", "faces")
    }
    assert found.keys() == truth.keys()
    assert sum(done.pinned("join_labels").ledger.values()) == len(truth)
    given = {k: row for k, row in found.items() if row["label"]}
    assert all(row["label"] == truth[k]["label"] for k, row in given.items())
    assert not [k for k in given if truth[k]["kind"] != "labelled"]
    labelled = [k for k, row in truth.items() if row["kind"] == "labelled"]
    assert sum(k in given for k in labelled) >= 0.9 * len(labelled)
