"""The traps that the original notebook fell into on its way to chips and labels: each is planted, and caught."""

from unittest import mock

import numpy as np
import pytest
from pyspark.sql import functions as F

from ml.config.training import TrainingConfig
from ml.errors import PreprocessingError, ProvenanceError, SplitLeakError
from ml.features import reader as reader_module
from ml.features.reader import FeatureReader
from ml.flow.table import STAGES
from ml.release.release import find_release
from ml.vision import images
from ml.workflow.opening import open_run
from spark_jobs import chip, featurize, join_labels
from spark_jobs.job import read_table
from support.features import make_features
from support.spark_stages import FACE, MIDS, PERSON, box, do, joined


@pytest.fixture(scope="module")
def prepared(spark, sample_release, tmp_path_factory):
    """Open a run whose stages before the trapped one are found done, and which does that one itself."""
    root = str(tmp_path_factory.mktemp("storage"))
    values = {"release": str(sample_release), "chip_size": 32}
    do(spark, open_run(root, "before", values), "extract", "join_labels", "chip")

    def open_(stage, **others):
        run = open_run(root, f"trap in {stage}", {**values, **others, "force": stage})
        for name in STAGES:
            if name == stage:
                return run
            run.find_or_adopt(STAGES[name])

    return open_


@pytest.fixture
def plant_in_chips(monkeypatch):
    """Plant another function in place of one of `ml.vision.images` while chips are cut, in Spark's workers as well."""

    def plant(name, function):
        cut_image = chip.cut_image

        def cut_with_trap(*arguments):
            with mock.patch.object(images, name, function):
                return cut_image(*arguments)

        monkeypatch.setattr(chip, "cut_image", cut_with_trap)

    return plant


def test_trap_1_boxes_of_every_class_taken_as_faces(spark, prepared, monkeypatch):
    """The class of the boxes is lost, so all of them are chipped. `join_labels` looks at each face's own class."""
    read = join_labels.read_current

    def forget_the_class(session, extracted, name):
        table = read(session, extracted, name)
        return table.withColumn("chipped", F.lit(True)) if "chipped" in table.columns else table

    monkeypatch.setattr(join_labels, "read_current", forget_the_class)
    with pytest.raises(ProvenanceError, match=r"\d+ are of another class"):
        do(spark, prepared("join_labels"), "join_labels")


def test_trap_1_more_faces_than_boxes_of_the_class(spark, prepared, monkeypatch):
    """A join doubles the faces. `join_labels` counts them against the boxes of the class that `extract` counted."""
    once = join_labels.join_labels

    def twice(*args):
        return once(*args).union(once(*args))

    monkeypatch.setattr(join_labels, "join_labels", twice)
    with pytest.raises(ProvenanceError, match=r"'Human face' that became faces: expected (\d+), found \d+"):
        do(spark, prepared("join_labels"), "join_labels")


def test_trap_2_the_image_s_label_given_to_every_face_on_it(spark, prepared, monkeypatch):
    """The image's label is given where a box is to give it. `join_labels` asks each label for the box that gives it."""
    monkeypatch.setattr(
        join_labels, "label_by_box", lambda faces, boxes, labels, config: join_labels.label_by_image(faces, labels)
    )
    with pytest.raises(ProvenanceError, match=r"\d+ have a label that no box gives"):
        do(spark, prepared("join_labels"), "join_labels")


def test_trap_4_chips_of_one_image_on_both_sides_of_the_split(spark, prepared, monkeypatch):
    """The split is drawn by chip instead of by image. `featurize` refuses an image on two sides."""
    by_chip = F.when(F.crc32("face_id") % 5 == 0, "test").otherwise("train")
    monkeypatch.setattr(featurize, "split_of", lambda config: by_chip)
    with pytest.raises(SplitLeakError, match="two sides of the split"):
        do(spark, prepared("featurize"), "featurize")


def test_trap_4_the_official_subset_ignored(spark, prepared, monkeypatch):
    """The split is drawn by image, yet not as the release has it. `featurize` compares it with the official subset."""
    by_image = F.when(F.crc32("image_id") % 5 == 0, "test").otherwise("train")
    monkeypatch.setattr(featurize, "split_of", lambda config: by_image)
    with pytest.raises(ProvenanceError, match=r"\d+ are not on the side of their official subset"):
        do(spark, prepared("featurize"), "featurize")


def test_trap_10_nulls_that_isnan_does_not_see(spark, release_copy, tmp_path):
    """Fields are left empty, the image's too. `extract` counts NULL, empty and NaN apart, and no such box is used."""
    file = release_copy / "v5/test-annotations-bbox.csv"
    face = f"xclick,{MIDS['Human face']},1,{{}},0,0,0,0,0"
    planted = [f",{face.format('0.1,0.2,0.1,0.2')}", f"00aa,{face.format(',0.2,0.1,nan')}"]
    file.write_text(file.read_text() + "\n".join(planted) + "\n")
    run = open_run(str(tmp_path / "storage"), "nulls", {"release": str(release_copy)})
    do(spark, run, "extract", "join_labels")
    nulls = run.pinned("extract").metrics["nulls"]["boxes"]
    assert nulls["ImageID"] == {"null": 1, "empty": 0, "nan": 0}
    assert nulls["XMin"] == {"null": 1, "empty": 0, "nan": 0}
    assert nulls["YMax"] == {"null": 0, "empty": 0, "nan": 1}
    ledger = run.pinned("join_labels").ledger
    assert (ledger["image not listed"], ledger["invalid box"]) == (1, 1)


def test_trap_10_the_photographs_left_out_of_the_null_check(release_copy):
    """A photograph is empty. `chip` counts it as unreadable, and none of its faces gets a chip."""
    photo = next(iter(sorted((release_copy / "train").glob("*.jpg"))))
    photo.write_bytes(b"")
    made = chip.cut_image(one_image(photo.stem, [FACE, PERSON]), find_release(str(release_copy)), 0.2, 16)
    assert [(row["status"], row["chip"]) for row in made] == [("image unreadable", None)] * 2


def one_image(image_id, boxes):
    """An image as `chip` takes it from Spark."""
    edges = ("x_min", "x_max", "y_min", "y_max")
    faces = [dict.fromkeys(chip.CARRIED) | dict(zip(edges, box, strict=True)) for box in boxes]
    return {"image_id": image_id, "subset": "train", "rotation": 0, "faces": faces}


def test_trap_11_groups_depictions_and_unknown_flags_ignored(spark):
    """Groups and depictions give no face and no label, a flag of -1 does: `join_labels` keeps three values apart."""
    cases = {
        "a": [box("a", "Human face", FACE, group=1), box("a", "Man", PERSON)],
        "b": [box("b", "Human face", FACE, depiction=1), box("b", "Man", PERSON)],
        "c": [box("c", "Human face", FACE), box("c", "Man", PERSON, group=1)],
        "d": [box("d", "Human face", FACE), box("d", "Man", PERSON, group=-1, depiction=-1, source="activemil")],
    }
    found = joined(spark, [row for boxes in cases.values() for row in boxes])
    assert [row.reason for row in found] == ["group", "depiction", "no person box", "labelled"]


def test_trap_11_rotation_ignored(spark, prepared, plant_in_chips):
    """Chips of photographs stored turned stay so. `chip` compares the quarters of each with those of the photograph."""
    plant_in_chips("turn_upright", lambda image, rotation: np.ascontiguousarray(image))
    with pytest.raises(ProvenanceError, match=r"chips, \d+ have a chip that is not turned as .* Rotation says"):
        do(spark, prepared("chip"), "chip")


@pytest.mark.parametrize("side", [150, 151, 700, 901])  # smaller than the largest stored chip, and larger
def test_trap_11_only_one_of_the_four_turns_is_taken_for_upright(side):
    """Each Rotation asks for its own turn; chips that are resized to be stored are told apart as well."""
    rng = np.random.default_rng(side)
    photo = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8).repeat(25, axis=0).repeat(25, axis=1)
    box = (0.3, 0.3 + side / 1500, 0.1, 0.1 + side / 1000)
    for rotation in (0, 90, 180, 270):
        made = images.chip(photo, box, 0.0, rotation)
        found = {turn: chip.find_defect(made, photo, box, 0.0, turn) for turn in (90, 180, 270)}
        assert found == {turn: None if turn == rotation else chip.NOT_UPRIGHT for turn in (90, 180, 270)}


def test_trap_11_label_index_by_frequency(spark, prepared, monkeypatch):
    """The commonest label gets index 0, as StringIndexer has it. `featurize` compares each index with the order."""
    labelled = prepared("featurize").pinned("join_labels").metrics["labelled"]
    order = sorted(labelled, key=lambda label: (-labelled[label], label))
    # Which label is the commoner one depends on what was drawn: the trap needs the other order than the frozen one.
    order = order if order != sorted(labelled) else order[::-1]
    by_frequency = F.array_position(F.array(*map(F.lit, order)), F.col("name")) - 1
    monkeypatch.setattr(featurize, "label_index", lambda config: by_frequency)
    with pytest.raises(ProvenanceError, match=r"\d+ have an index that is not their label's"):
        do(spark, prepared("featurize"), "featurize")


def test_trap_12_features_and_labels_matched_by_luck(tmp_path, monkeypatch):
    """Labels come in another order than pixels. The reader sums the pixels of each label as `featurize` did."""
    reader = FeatureReader(make_features(tmp_path), "train")
    batch = reader._batch

    def by_luck(rows, shard):
        whole = batch(rows, shard)
        return reader_module.Batch(whole.pixels, np.sort(whole.labels), whole.columns)

    assert len(list(reader.checked_batches(16))) == reader.steps(16)
    monkeypatch.setattr(reader, "_batch", by_luck)
    with pytest.raises(PreprocessingError, match="faces labelled female"):
        list(reader.checked_batches(16))


def test_trap_12_pixels_as_float64(tmp_path, monkeypatch):
    """Pixels are held as float64, eight times as large. The reader hands over nothing but uint8."""
    chips = reader_module.chips
    monkeypatch.setattr(reader_module, "chips", lambda *args: chips(*args).astype(np.float64))
    with pytest.raises(PreprocessingError, match="raw uint8"):
        list(FeatureReader(make_features(tmp_path), "train").checked_batches(16))


def test_trap_13_every_chip_decodes_its_whole_image(spark, prepared, monkeypatch):
    """The faces come one by one, not by image. `chip` counts the photographs that it reads against those there are."""

    def one_by_one(faces, tasks):
        face = F.array(F.struct(*chip.FACE_FIELDS)).alias("faces")
        return faces.where("reason = 'labelled'").select("image_id", "subset", "rotation", face)

    monkeypatch.setattr(chip, "group_by_image", one_by_one)
    with pytest.raises(ProvenanceError, match=r"each to be decoded once: expected \d+, found \d+"):
        do(spark, prepared("chip"), "chip")


def test_trap_13_aspect_ratio_lost(monkeypatch):
    """The box itself is cut out. `chip` sees that it is no square, and `resize` refuses to press it into one."""
    photo = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    tall = (0.4, 0.6, 0.1, 0.9)
    assert images.tensor(images.encode_jpeg(images.chip(photo, tall, 0.0)), 64).shape == (64, 64, 3)
    monkeypatch.setattr(images, "cut", lambda image, left, top, side: image[30:270, 160:240])
    assert chip.find_defect(images.chip(photo, tall, 0.0), photo, tall, 0.0, 0) == chip.OTHER_SQUARE
    with pytest.raises(ValueError, match="aspect ratio"):
        images.tensor(images.encode_jpeg(images.chip(photo, tall, 0.0)), 64)


def test_trap_13_chips_resized_twice(spark, prepared, plant_in_chips):
    """Chips are resized when they are cut, and again for the network. `chip` compares each with its box's own size."""
    whole = images.chip
    plant_in_chips("chip", lambda *arguments: images.resize(whole(*arguments), 224))
    with pytest.raises(ProvenanceError, match=r"chips, \d+ have a chip that is not the square around their box"):
        do(spark, prepared("chip"), "chip")


def test_trap_14_a_sample_that_differs_at_each_run(spark, prepared, monkeypatch):
    """The sample is drawn at random. `join_labels` sees that an image is kept which comes after a dropped one."""
    limit = join_labels._limit

    def draw(*arguments):
        with mock.patch.object(join_labels, "_image_digest", F.rand):
            return limit(*arguments)

    monkeypatch.setattr(join_labels, "_limit", draw)
    with pytest.raises(ProvenanceError, match=r"label '\w+' are not those with the lowest digests of their ids"):
        do(spark, prepared("join_labels", images_per_label=6), "join_labels")


def test_trap_14_the_sample_is_the_same_in_whatever_order_the_rows_come(spark, prepared):
    """The rows come in another order and in other partitions. `images_per_label` chooses by digest of ImageID."""
    extracted = prepared("join_labels").pinned("extract")
    config = TrainingConfig(images_per_label=6)

    def sample(seed):
        tables = [read_table(spark, extracted.table(name)) for name in ("boxes", "labels", "images")]
        shuffled = [table.repartition(1 + seed, F.rand(seed)) for table in tables]
        faces = join_labels.join_labels(*shuffled, config).where("label IS NOT NULL")
        return sorted(row.face_id for row in faces.select("face_id").collect())

    first, second = sample(1), sample(2)
    assert first == second
    assert len(first) >= 12
