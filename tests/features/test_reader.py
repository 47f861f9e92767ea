"""Tests of `ml.features.reader`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from ml.errors import DataError, PreprocessingError
from ml.features import reader as reader_module
from ml.features.feed import Feed
from ml.features.reader import Batch, FeatureReader, channel_sums, chips
from ml.workflow.manifest import Manifest
from support.features import draw_chips, make_features


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return make_features(tmp_path_factory.mktemp("storage"), {"train": (90, 41), "validation": (5, 7), "test": (3, 3)})


def faces(batches: Iterator[Batch]) -> list[str]:
    return [face for batch in batches for face in batch.columns["face_id"]]


def with_metrics(manifest: Manifest, **values: Any) -> Manifest:
    return manifest.model_copy(update={"metrics": {**manifest.metrics, **values}})


@pytest.mark.parametrize("epoch", [None, 0, 3])
@pytest.mark.parametrize("block_bytes", [1, 50 * 32 * 32 * 3, 1 << 30])
def test_each_face_comes_once_a_pass(
    features: Manifest, epoch: int | None, block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "BLOCK_BYTES", block_bytes)
    batches = list(FeatureReader(features, "train", ("face_id",)).batches(32, epoch))
    assert sorted(faces(iter(batches))) == sorted(f"train-{row}" for row in range(131))
    assert [len(batch) for batch in batches] == [26, 26, 26, 26, 27]  # no small last batch


def test_pixels_and_labels_stay_together(features: Manifest) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1], [90, 41]))
    pixels = draw_chips(labels, 32, seed=0)
    for batch in FeatureReader(features, "train", ("face_id",)).batches(20, epoch=1):
        rows = [int(face.removeprefix("train-")) for face in batch.columns["face_id"]]
        np.testing.assert_array_equal(batch.labels, labels[rows])
        np.testing.assert_array_equal(batch.pixels, pixels[rows])


def test_order_differs_by_epoch_and_seed_and_is_repeatable(features: Manifest) -> None:
    orders = [
        faces(FeatureReader(features, "train", ("face_id",), seed=seed).batches(32, epoch))
        for seed, epoch in ((1, 0), (1, 0), (1, 1), (2, 0), (1, None))
    ]
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders}) == 4


@pytest.mark.parametrize("seed", [1, 2])
def test_faces_of_all_shards_mix_even_where_few_fit_in_memory(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = make_features(tmp_path, {"train": (100, 100), "validation": (3, 3), "test": (3, 3)}, shards=10)
    monkeypatch.setattr(reader_module, "BLOCK_BYTES", 40 * 32 * 32 * 3)  # two shards
    passes = [faces(FeatureReader(many, "train", ("face_id",), seed=seed).batches(20, epoch)) for epoch in range(4)]
    shards = [[int(face.removeprefix("train-")) // 20 for face in one] for one in passes]
    assert len({tuple(dict.fromkeys(one)) for one in shards}) == 4, "the shards come in another order each epoch"
    for one in shards:
        assert abs(np.corrcoef(one, range(200))[0, 1]) < 0.9
        assert all(len(set(one[start : start + 20])) > 1 for start in range(0, 200, 20)), "a batch of one shard"


def test_only_what_is_needed_is_read(features: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "BLOCK_BYTES", 1)
    read = []
    original = FeatureReader._batch

    def counted(self: FeatureReader, rows: pa.RecordBatch, shard: str) -> Batch:
        read.append(len(rows))
        return original(self, rows, shard)

    monkeypatch.setattr(FeatureReader, "_batch", counted)
    next(FeatureReader(features, "train").batches(8, epoch=0))
    assert sum(read) <= 16  # a row group of 131 faces


OUT = {"train-3", "train-64", "train-65", "validation-1", "elsewhere"}


@pytest.mark.parametrize("epoch", [None, 0])
def test_excluded_faces_are_neither_read_nor_counted(features: Manifest, epoch: int | None) -> None:
    reader = FeatureReader(features, "train", ("face_id",), excluded=OUT)
    assert reader.rows == 128
    assert sum(reader.faces) == 128
    batches = list(reader.checked_batches(32, epoch))
    assert sorted(faces(iter(batches))) == sorted({f"train-{row}" for row in range(131)} - OUT)
    assert [len(batch) for batch in batches] == [32] * 4
    assert np.bincount(np.concatenate([batch.labels for batch in batches])).tolist() == reader.faces
    chips_, _, weights = next(iter(Feed(FeatureReader(features, "train", excluded=OUT), 200, True).dataset()))
    assert (len(chips_), float(tf.reduce_sum(weights))) == (128, pytest.approx(128))


def test_the_pixels_of_the_other_faces_are_still_checked(features: Manifest) -> None:
    sums = {**features.metrics["channel_sums"], "train": [1, 2, 3 << 40]}
    reader = FeatureReader(with_metrics(features, channel_sums=sums), "train", excluded=OUT)
    with pytest.raises(PreprocessingError, match="the sums of red, green and blue"):
        list(reader.checked_batches(32))


def test_faces_are_found_by_id_where_they_are(features: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = FeatureReader._batch

    def counted(self: FeatureReader, rows: pa.RecordBatch, shard: str) -> Batch:
        read.append(len(rows))
        return original(self, rows, shard)

    monkeypatch.setattr(FeatureReader, "_batch", counted)
    found = {
        str(face): (chip, label)
        for batch in FeatureReader(features, "train", ("face_id",)).find(OUT)
        for face, chip, label in zip(batch.columns["face_id"], batch.pixels, batch.labels, strict=True)
    }
    assert set(found) == {"train-3", "train-64", "train-65"}
    assert sum(read) == 3
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1], [90, 41]))
    pixels = draw_chips(labels, 32, seed=0)
    for face, (chip, label) in found.items():
        row = int(face.removeprefix("train-"))
        assert label == labels[row]
        np.testing.assert_array_equal(chip, pixels[row])


def test_pixels_are_viewed_not_copied() -> None:
    column = pa.array([bytes(range(12)), bytes(range(12, 24)), bytes(12)], pa.binary())[1:]
    viewed = chips(column, 2)
    assert viewed[0].ravel().tolist() == list(range(12, 24))
    assert viewed.ctypes.data == column.buffers()[2].address + 12
    np.testing.assert_array_equal(viewed, chips(column.cast(pa.large_binary()), 2))


@pytest.mark.parametrize("values", [[bytes(12), bytes(11)], [bytes(12), None], [bytes(11), bytes(13)]])
def test_chips_of_another_size_are_refused(values: list[bytes | None]) -> None:
    with pytest.raises(PreprocessingError, match="does not have the 12 bytes"):
        chips(pa.array(values, pa.binary()), 2)


def test_channel_sums_are_exact() -> None:
    pixels = np.full((300, 64, 64, 3), (255, 254, 1), np.uint8)
    assert channel_sums(pixels).tolist() == [300 * 64 * 64 * value for value in (255, 254, 1)]


def test_a_reader_that_swaps_channels_is_found(features: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "chips", lambda column, size: chips(column, size)[..., ::-1])
    with pytest.raises(PreprocessingError, match="red and blue are swapped"):
        list(FeatureReader(features, "train").checked_batches(32))


def test_a_reader_that_scales_is_found(features: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "chips", lambda column, size: chips(column, size) / np.float32(255))
    with pytest.raises(PreprocessingError, match="raw uint8"):
        list(FeatureReader(features, "train").checked_batches(32))


def test_what_the_manifest_does_not_state_is_refused(features: Manifest) -> None:
    counts = {**features.metrics["faces"], "train": {"female": 41, "male": 90}}
    with pytest.raises(DataError, match=r"\[90, 41\]"):
        list(FeatureReader(with_metrics(features, faces=counts), "train").checked_batches(32))
    files = [file.model_copy(update={"rows": (file.rows or 0) + 1}) for file in features.files]
    with pytest.raises(DataError, match="does not hold the 133 rows its manifest states"):
        list(FeatureReader(features.model_copy(update={"files": files}), "train").batches(32))
    with pytest.raises(DataError, match="no column nothing"):
        list(FeatureReader(features, "train", ("nothing",)).batches(32))
    one_label = with_metrics(features, labels=["female"])
    with pytest.raises(DataError, match=r"label outside 0\.\.0"):
        list(FeatureReader(one_label, "train").batches(32))


def test_feed_gives_batches_with_balanced_weights(features: Manifest) -> None:
    feed = Feed(FeatureReader(features, "train"), 32, balance=True)
    batches = list(feed.dataset(0))
    assert len(batches) == feed.steps == len(feed.dataset(0)) == 5
    pixels, labels, weights = (np.concatenate([batch[part].numpy() for batch in batches]) for part in range(3))
    assert (pixels.dtype, labels.dtype, weights.dtype) == (np.uint8, np.float32, np.float32)
    by_label = (labels * weights[:, None]).sum(axis=0)
    np.testing.assert_allclose(by_label, [131 / 2, 131 / 2], rtol=1e-5)
    assert labels.sum(axis=0).tolist() == [90, 41]


def test_a_pass_is_not_tuned(features: Manifest) -> None:
    # An iterator of a tuned data set is let go when the tuner wakes, which can be a minute after the last batch.
    feed = Feed(FeatureReader(features, "train"), 32)
    assert feed.dataset(0).options().autotune.enabled is False


def test_feed_augments_otherwise_each_epoch_and_is_repeatable(features: Manifest) -> None:
    reader = FeatureReader(features, "train", seed=3)
    plain = next(iter(Feed(reader, 32).dataset(0)))[0].numpy()
    first, again = (next(iter(Feed(reader, 32, augment=True).dataset(0)))[0].numpy() for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first != plain).any()
    assert first.dtype == np.uint8


def test_errors_in_reading_keep_their_names_within_tensorflow(
    features: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "chips", lambda column, size: chips(column, size)[..., ::-1])
    feed = Feed(FeatureReader(features, "train"), 32)
    with pytest.raises(PreprocessingError, match="red and blue are swapped"), feed.errors():
        list(feed.dataset(0).take(feed.steps))  # Keras, too, asks for no more than that
    with pytest.raises(tf.errors.InvalidArgumentError), Feed(FeatureReader(features, "train"), 32).errors():
        tf.debugging.assert_equal(tf.constant(1), tf.constant(2))


def test_reading_loads_no_tensorflow() -> None:
    code = "import sys, ml.features.reader; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0
