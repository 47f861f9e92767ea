"""The traps that the original notebook fell into on its way to chips and labels: each is planted, and caught."""

import dataclasses
import random
import zlib
from contextlib import nullcontext

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import functions as F

from ml.errors import PreprocessingError, ProvenanceError, SplitLeakError
from ml.features import reader as reader_module
from ml.features.reader import FeatureReader
from ml.flow.records import ExtractRecord, LabelsRecord, NullCounts
from ml.flow.table import STAGES
from ml.photographs.opening import open_photographs
from ml.vision import images
from ml.workflow.opening import open_run
from spark_jobs import chip, cutting, faces, featurize, join_labels, splitting
from spark_jobs.faces import label_faces
from spark_jobs.labelling import STRATEGIES
from support.features import make_features
from support.invariants import (
    FACES,
    HEIGHT,
    ROTATIONS,
    WIDTH,
    assert_chips_are_right,
    assert_features_are_labeled_and_split_as_their_chips,
)
from support.spark_stages import FACE, MIDS, PERSON, box, check_lowest_digests, do, joined, labelled_images, tables_of


@pytest.fixture(scope="module")
def prepared(done):
    """Open a run whose stages before the trapped one are found done, and which does that one itself."""
    values = {**done.config.model_dump(), "chip_size": 32}  # features of another size: those of `done` stay as they are

    def open_(stage, **others):
        run = open_run(done.root, f"trap in {stage}", {**values, **others, "force": stage})
        for name in STAGES:
            if name == stage:
                return run
            run.find_or_adopt(STAGES[name])

    return open_


def test_trap_1_boxes_of_every_class_taken_as_faces(spark, prepared, monkeypatch):
    """The class of the boxes is lost, so all of them are chipped. `join_labels` looks at each face's own class."""
    once = label_faces

    def forget_the_class(tables, settings):
        boxes = tables["boxes"]
        every = boxes.set_column(boxes.column_names.index("chipped"), "chipped", pa.repeat(True, len(boxes)))
        return once({**tables, "boxes": every}, settings)

    monkeypatch.setattr(join_labels, "label_faces", forget_the_class)
    with pytest.raises(ProvenanceError, match=r"\d+ are of another class"):
        do(spark, prepared("join_labels"), "join_labels")


def test_trap_1_more_faces_than_boxes_of_the_class(spark, prepared, monkeypatch):
    """A join doubles the faces. `join_labels` counts them against the boxes of the class that `extract` counted."""
    once = label_faces

    def twice(tables, settings):
        found = once(tables, settings)
        return dataclasses.replace(found, faces=pa.concat_tables([found.faces] * 2))

    monkeypatch.setattr(join_labels, "label_faces", twice)
    with pytest.raises(ProvenanceError, match=r"Faces from boxes of class 'Human face': expected (\d+), found \d+"):
        do(spark, prepared("join_labels"), "join_labels")


def test_trap_2_the_image_s_label_given_to_every_face_on_it(spark, prepared, monkeypatch):
    """The image's label is given where a box is to give it. `join_labels` asks each label for the box that gives it."""
    once, confused = label_faces, {**STRATEGIES, "box": STRATEGIES["image"]}
    monkeypatch.setattr(join_labels, "label_faces", lambda tables, settings: once(tables, settings, confused))
    with pytest.raises(ProvenanceError, match=r"\d+ have a label that no box gives"):
        do(spark, prepared("join_labels"), "join_labels")


def test_trap_4_chips_of_one_image_on_both_sides_of_the_split(spark, prepared, monkeypatch):
    """The split is drawn by chip instead of by image. `featurize` refuses an image on two sides."""
    by_chip = F.when(F.crc32("face_id") % 5 == 0, "test").otherwise("train")
    monkeypatch.setattr(featurize, "with_split", lambda chips, kept: chips.withColumn("split", by_chip))
    with pytest.raises(SplitLeakError, match="images are in two splits"):
        do(spark, prepared("featurize"), "featurize")


def test_trap_4_the_official_subset_ignored(spark, prepared, monkeypatch):
    """The split is drawn by image, yet not as the release has it. The test of featurize compares the two."""

    def by_image(subsets, representatives, config):
        return ["test" if zlib.crc32(image.encode()) % 5 == 0 else "train" for image in representatives]

    monkeypatch.setattr(splitting, "split_of", by_image)
    run = do(spark, prepared("featurize"), "featurize")
    with pytest.raises(AssertionError):
        assert_features_are_labeled_and_split_as_their_chips(run)


def test_trap_10_nulls_that_isnan_does_not_see(spark, release_copy, tmp_path):
    """Fields are left empty, the image's too. `extract` counts NULL, empty and NaN apart, and no such box is used."""
    file = release_copy / "v5/test-annotations-bbox.csv"
    face = f"xclick,{MIDS['Human face']},1,{{}},0,0,0,0,0"
    planted = [f",{face.format('0.1,0.2,0.1,0.2')}", f"{16 * 'a'},{face.format(',0.2,0.1,nan')}"]
    file.write_text(file.read_text() + "\n".join(planted) + "\n")
    run = open_run(str(tmp_path / "storage"), "nulls", {"release": str(release_copy)})
    do(spark, run, "extract", "join_labels")
    nulls = run.pinned("extract").record(ExtractRecord).nulls["boxes"]
    assert nulls["ImageID"] == NullCounts(null=1, empty=0, nan=0)
    assert nulls["XMin"] == NullCounts(null=1, empty=0, nan=0)
    assert nulls["YMax"] == NullCounts(null=0, empty=0, nan=1)
    ledger = run.pinned("join_labels").ledger
    assert (ledger["image not listed"], ledger["invalid box"]) == (0, 2)


def test_trap_10_the_photographs_left_out_of_the_null_check(release_copy):
    """A photograph is empty. `chip` counts it as unreadable, and none of its faces gets a chip."""
    photo = next(iter(sorted((release_copy / "train").glob("*.jpg"))))
    photo.write_bytes(b"")
    image = cutting.Image("train", photo.stem, 0, [FACE, PERSON])
    made = cutting.cut_image(image, lambda: open_photographs(str(release_copy)).read("train", photo.stem), 0.2, 16)
    assert made == [cutting.Cut("image unreadable")] * 2


def test_trap_11_groups_depictions_and_unknown_flags_ignored():
    """Groups and depictions give no face and no label, a flag of -1 does: `join_labels` keeps three values apart."""
    cases = {
        "a": [box("a", "Human face", FACE, group=1), box("a", "Man", PERSON)],
        "b": [box("b", "Human face", FACE, depiction=1), box("b", "Man", PERSON)],
        "c": [box("c", "Human face", FACE), box("c", "Man", PERSON, group=1)],
        "d": [box("d", "Human face", FACE), box("d", "Man", PERSON, group=-1, depiction=-1, source="activemil")],
    }
    found = joined([row for boxes in cases.values() for row in boxes])
    assert [row.reason for row in found] == ["group", "depiction", "no person box", "labelled"]


@pytest.mark.parametrize(("width", "height"), FACES)
@pytest.mark.parametrize("rotation", [90, 180, 270])
@pytest.mark.parametrize("taken", ROTATIONS)
def test_trap_11_rotation_ignored(monkeypatch, width, height, rotation, taken):
    """Chips are not turned, or not by their own Rotation. The test of chip paints what each turn must give."""
    turn = images.turn_upright
    monkeypatch.setattr(images, "turn_upright", lambda image, _: turn(image, taken))
    with nullcontext() if taken == rotation else pytest.raises(AssertionError):
        assert_chips_are_right(rotation, width, height)


def test_trap_11_label_index_by_frequency(spark, prepared, monkeypatch):
    """The commonest label gets index 0, as StringIndexer has it. The test of featurize compares each with the order."""
    labelled = prepared("featurize").pinned("join_labels").record(LabelsRecord).labelled
    order = sorted(labelled, key=lambda label: (-labelled[label], label))
    # Which label is the commoner one depends on what was drawn: the trap needs the other order than the frozen one.
    order = order if order != sorted(labelled) else order[::-1]
    by_frequency = F.array_position(F.array(*map(F.lit, order)), F.col("name")) - 1
    monkeypatch.setattr(featurize, "label_index", lambda config: by_frequency)
    run = do(spark, prepared("featurize"), "featurize")
    with pytest.raises(AssertionError):
        assert_features_are_labeled_and_split_as_their_chips(run)


def test_trap_12_features_and_labels_matched_by_luck(tmp_path, monkeypatch):
    """Labels come in another order than pixels. The reader sums the pixels of each label as `featurize` did."""
    reader = FeatureReader(make_features(tmp_path), "train")
    batch = reader._batch

    def by_luck(rows, shard):
        whole = batch(rows, shard)
        return reader_module.Batch(whole.pixels, np.sort(whole.labels), whole.columns)

    assert len(list(reader.checked_batches(16))) == reader.steps(16)
    monkeypatch.setattr(reader, "_batch", by_luck)
    with pytest.raises(PreprocessingError, match="faces labeled female"):
        list(reader.checked_batches(16))


def test_trap_12_pixels_as_float64(tmp_path, monkeypatch):
    """Pixels are held as float64, eight times as large. The reader hands over nothing but uint8."""
    chips = reader_module.chips
    monkeypatch.setattr(reader_module, "chips", lambda *args: chips(*args).astype(np.float64))
    with pytest.raises(PreprocessingError, match="raw uint8"):
        list(FeatureReader(make_features(tmp_path), "train").checked_batches(16))


def test_trap_13_every_chip_decodes_its_whole_image(spark, prepared, monkeypatch):
    """The faces come one by one, not by image. `chip` counts the photographs that it reads against those there are."""

    def one_by_one(faces):
        return (faces.slice(row, 1) for row in range(faces.num_rows))

    monkeypatch.setattr(chip, "divide", one_by_one)
    with pytest.raises(ProvenanceError, match=r"each decoded once: expected \d+, found \d+"):
        do(spark, prepared("chip"), "chip")


@pytest.mark.parametrize(("width", "height"), FACES)
def test_trap_13_aspect_ratio_lost(monkeypatch, width, height):
    """The box itself is cut out. The test of chip sees that it is no square."""
    top, left = (HEIGHT - height) // 2, (WIDTH - width) // 2
    monkeypatch.setattr(images, "crop", lambda image, *_: image[top : top + height, left : left + width])
    with pytest.raises((AssertionError, ValueError)):
        assert_chips_are_right(0, width, height)


def test_trap_13_what_is_no_square_is_pressed_into_one():
    """A chip that is no square comes to be resized. `resize` refuses it."""
    with pytest.raises(ValueError, match="aspect ratio"):
        images.decode_chip(images.encode_jpeg(np.zeros((240, 80, 3), np.uint8)), 64)


@pytest.mark.parametrize(("width", "height"), FACES)
def test_trap_13_chips_resized_twice(monkeypatch, width, height):
    """Chips are resized when they are cut, and again for the network. The test of chip asks for the box's own size."""
    whole = images.cut_chip
    monkeypatch.setattr(images, "cut_chip", lambda *arguments: images.resize(whole(*arguments), 224))
    with pytest.raises(AssertionError):
        assert_chips_are_right(0, width, height)


def test_trap_14_a_sample_that_differs_at_each_run(prepared, monkeypatch):
    """The sample is drawn at random. This test holds each label's sample against the images' digests, and sees it."""
    tables = tables_of(prepared("join_labels").pinned("extract"))
    everything = labelled_images(tables)
    check_lowest_digests(everything, labelled_images(tables, images_per_label=6), 6)
    monkeypatch.setattr(faces, "image_digest", lambda image_id: f"{random.random():.17f}")
    with pytest.raises(AssertionError, match="not the images with the lowest digests"):
        check_lowest_digests(everything, labelled_images(tables, images_per_label=6), 6)


def test_trap_14_the_sample_is_the_same_in_whatever_order_the_rows_come(prepared):
    """The rows come in another order. `images_per_label` chooses by digest of ImageID."""
    tables = tables_of(prepared("join_labels").pinned("extract"))

    def sample(seed):
        draw = np.random.default_rng(seed)
        shuffled = {name: rows.take(pa.array(draw.permutation(len(rows)))) for name, rows in tables.items()}
        return labelled_images(shuffled, images_per_label=6)

    first, second = sample(1), sample(2)
    assert first == second
    assert len(first) >= 12
