"""Stage featurize: its tensors, counts, order and split."""

import csv
import json

import cv2
import numpy as np
import pytest
from pyspark.sql import functions as F

from ml.errors import SplitLeakError
from ml.features.histograms import count_values
from ml.features.record import FeaturesRecord
from ml.photographs.source import SUBSETS
from ml.vision import images
from ml.workflow.opening import open_run
from spark_jobs import featurize, splitting
from support.invariants import assert_features_are_labeled_and_split_as_their_chips
from support.spark_stages import MIDS, do, rows, whole


def test_features_hold_every_chip_once_as_raw_pixels_of_the_right_size(spark, done):
    manifest = done.pinned("featurize")
    assert sum(manifest.ledger.values()) == done.pinned("chip").ledger["chipped"]
    left_out = manifest.ledger[splitting.NEAR_DUPLICATE]
    found = rows(spark, done, "featurize", "features")
    assert len({row["face_id"] for row in found}) == len(found) == sum(manifest.ledger.values()) - left_out
    chips = {row["face_id"]: row for row in rows(spark, done, "chip", "chips")}
    order = manifest.metrics["labels"]
    assert order == ["female", "male"]
    for row in found:
        source = chips[row["face_id"]]
        assert order[row["label"]] == source["label"]
        expected = images.decode_chip(source["chip"], 48)
        np.testing.assert_array_equal(np.frombuffer(row["pixels"], np.uint8).reshape(48, 48, 3), expected)
        luma = cv2.cvtColor(expected, cv2.COLOR_RGB2GRAY).mean() / 255  # BT.601, each pixel rounded
        assert row["brightness"] == pytest.approx(luma, abs=0.003)
        for name in ("miap_label", "age_presentation", "rotation", "face_px", "is_occluded", "source"):
            assert row[name] == source[name]


def test_features_have_the_index_of_their_label_and_the_side_of_their_subset(done):
    assert_features_are_labeled_and_split_as_their_chips(done)


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


def test_the_order_of_faces_is_shuffled_and_the_same_each_time_in_whatever_order_they_come(spark):
    chips = spark.range(200).selectExpr("cast(id as string) face_id", "id", "'train' split")
    tables = (chips, chips.orderBy(F.desc("id")).repartition(3))
    orders = [[int(row.face_id) for row in featurize.shuffle(table, 1).collect()] for table in tables]
    assert orders[0] == orders[1]
    assert abs(np.corrcoef(orders[0], range(200))[0, 1]) < 0.3


def test_the_record_holds_the_histograms_of_the_table(done):
    features = done.pinned("featurize")
    assert features.record(FeaturesRecord).histograms == count_values(features.table("features"))
    assert sum(features.record(FeaturesRecord).histograms["face_px"].counts) == features.rows("features")


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
