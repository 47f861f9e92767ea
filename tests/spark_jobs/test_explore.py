"""Stage explore: its analyses and plots."""

from ml import storage
from ml.config.training import TrainingConfig
from ml.flow.records import VerifiedImages
from spark_jobs import explore
from support.spark_stages import LABELS


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


def test_good_and_bad_images_are_counted_by_their_verdicts(spark):
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
        VerifiedImages(label="female", all_positive=2, with_a_negative=1),
        VerifiedImages(label="male", all_positive=1, with_a_negative=0),
    ]
