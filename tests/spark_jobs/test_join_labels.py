"""Stage join_labels: its labels against the truth of the drawn release, its counts and its image limit."""

from ml.release.layout import SUBSETS
from ml.workflow.opening import open_run
from spark_jobs import join_labels
from spark_jobs.annotations import EDGES
from support.spark_stages import ELSEWHERE, FACE, PERSON, box, check_lowest_digests, do, joined, key, rows, truth_of


def test_agreement_with_miap_by_split_and_strategy(spark, done, sample_release):
    """The truth determines the agreement: in the drawn release, neither MIAP nor strategy `box` errs."""
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
    truth = {key(row["ImageID"], *(row[e] for e in EDGES)): row for row in truth_of(sample_release)}
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


def test_each_label_keeps_its_images_of_lowest_digest_and_other_faces_count_for_nothing(spark):
    pairs = [(label, f"{number:016x}") for number in range(40) for label in ("female", "male")[: 1 + number % 2]]
    unlabelled = [f"{number:016x}" for number in range(40, 80)]
    table = spark.createDataFrame(
        [
            *((image, label, None) for label, image in pairs * 2),
            *((image, "female", "two labels") for image in unlabelled),
        ],
        "image_id string, label string, reason string",
    )
    found = join_labels.limit_images(table, 5).collect()
    assert len(found) == 2 * len(pairs) + len(unlabelled)
    check_lowest_digests(pairs, {(row.label, row.image_id) for row in found if row.reason is None}, 5)
    assert sum(row.reason == join_labels.OVER_LIMIT for row in found) == 2 * (len(pairs) - 10)
    assert sum(row.reason == "two labels" for row in found) == len(unlabelled)


def test_the_labels_of_the_drawn_release_are_true_and_its_ledger_adds_up(spark, done, sample_release):
    truth = {key(row["ImageID"], *(row[e] for e in EDGES)): row for row in truth_of(sample_release)}
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
