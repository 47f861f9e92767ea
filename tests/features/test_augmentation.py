"""Random changes to chips: what they keep, how often each strikes, and that a seed repeats them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.features import augmentation, degradation
from ml.features.augmentation import augment, mix
from ml.features.degradation import degrade

STILL = ("CONTRAST", "BRIGHTNESS", "SATURATION", "TINT", "GRAY", "ERASED")  # what does not move a chip
FAULTS = ("EXPOSED", "NOISY", "COARSE")


def turn_off(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Turn off all faults, and the changes with these names."""
    for name in names:
        monkeypatch.setattr(augmentation, name, 0.0)
    for name in FAULTS:
        monkeypatch.setattr(degradation, name, 0.0)


def only(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """Let one fault strike every chip, and no other."""
    for name in FAULTS:
        monkeypatch.setattr(degradation, name, float(name == fault))


def faces(count: int, side: int = 48) -> tf.Tensor:
    """Smooth chips, as float32."""
    coarse = np.random.default_rng(0).uniform(40, 220, (count, 6, 6, 3)).astype(np.float32)
    return tf.image.resize(coarse, (side, side), "bicubic")


def test_augmentation_gives_other_raw_chips_and_is_repeatable() -> None:
    chips = np.random.default_rng(0).integers(0, 256, (8, 48, 48, 3), dtype=np.uint8)
    once, again, other = (augment(tf.constant(chips), tf.constant([7, step])).numpy() for step in (1, 1, 2))
    assert once.dtype == np.uint8
    assert once.shape == chips.shape
    np.testing.assert_array_equal(once, again)
    assert (once != other).any(axis=(1, 2, 3)).all()


def test_augmentation_keeps_a_face_where_it_was_and_its_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    turn_off(monkeypatch, *STILL, "SHIFT")
    chips = np.full((32, 49, 49, 3), (10, 60, 200), np.uint8)
    chips[:, 20:29, 20:29] = (200, 60, 10)
    changed = augment(tf.constant(chips), tf.constant([7, 1])).numpy()
    assert (changed[:, 24, 24] == (200, 60, 10)).all()  # turned and zoomed about the middle
    assert (changed[:, 0, 0] == (10, 60, 200)).all()  # beyond the border its pixels are repeated


def test_augmentation_flips_about_half_of_the_chips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml.features.augmentation.ZOOM", (0.0, 0.0))
    turn_off(monkeypatch, *STILL, "SHIFT", "ROTATION_DEGREES", "SHEAR", "ASPECT")
    chips = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), dtype=np.uint8)
    changed = augment(tf.constant(chips), tf.constant([7, 1])).numpy()
    same = (changed == chips).all(axis=(1, 2, 3))
    flipped = (changed == chips[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same | flipped).all()
    assert 16 < flipped.sum() < 48


def test_augmentation_gives_chips_of_another_size_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml.features.augmentation.ZOOM", (0.0, 0.0))
    turn_off(monkeypatch, *STILL, "SHIFT", "ROTATION_DEGREES", "SHEAR", "ASPECT")
    ramp = np.broadcast_to(np.arange(48, dtype=np.uint8)[None, :, None] * 5, (48, 48, 3))
    (small,) = augment(tf.constant(ramp[None]), tf.constant([7, 1]), side=16).numpy()
    assert small.shape == (16, 16, 3)
    expected = ramp.reshape(16, 3, 16, 3, 3)[:, 1, :, 1]
    assert np.array_equal(small, expected) or np.array_equal(small, expected[:, ::-1])


def test_about_the_share_of_chips_has_a_part_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    turn_off(monkeypatch, "CONTRAST", "BRIGHTNESS", "SATURATION", "TINT", "GRAY")
    chips = np.full((256, 32, 32, 3), 128, np.uint8)
    changed = (augment(tf.constant(chips), tf.constant([3, 1])).numpy() != 128).any(axis=-1).mean(axis=(1, 2))
    assert 0.2 < (changed > 0).mean() < 0.4
    assert changed.max() < 0.3, "no face is hidden as a whole"


def test_mixing_blends_pixels_labels_and_weights_alike() -> None:
    chips = np.zeros((64, 8, 8, 3), np.uint8)
    chips[32:] = 200
    labels = np.repeat(np.eye(2, dtype=np.float32), 32, axis=0)
    weights = np.repeat(np.array([0.5, 2.0], np.float32), 32)
    pixels, shares, mixed = (
        v.numpy() for v in mix(*map(tf.constant, (chips, labels, weights)), tf.constant([1, 2]), 0.5)
    )
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(pixels[:, 0, 0, 0] / 200, shares[:, 1], atol=0.003)
    np.testing.assert_allclose(mixed, shares @ np.array([0.5, 2.0]), atol=1e-5)
    assert (shares[np.arange(64), np.repeat([0, 1], 32)] >= 0.5).all(), "a chip stays for the larger part itself"
    assert 0.25 < (shares.max(axis=1) < 1).mean() < 0.75


def test_about_the_share_of_chips_has_a_fault_and_the_others_are_as_they_were() -> None:
    chips = tf.clip_by_value(faces(400, 16), 0, 255)
    changed = (degrade(chips, tf.constant([5, 1])).numpy() != chips.numpy()).any(axis=(1, 2, 3))
    untouched = (1 - degradation.EXPOSED) * (1 - degradation.NOISY) * (1 - degradation.COARSE)
    assert 1 - untouched - 0.1 < changed.mean() < 1 - untouched + 0.1


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_keeps_the_range_and_is_repeatable(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    only(monkeypatch, fault)
    chips = faces(8)
    once, again, other = (degrade(chips, tf.constant([7, step])).numpy() for step in (1, 1, 2))
    np.testing.assert_array_equal(once, again)
    assert (once != other).any(axis=(1, 2, 3)).all()
    assert once.shape == chips.shape
    assert once.min() >= 0
    assert once.max() <= 255


def test_poor_light_keeps_the_order_of_light_and_dark(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "EXPOSED")
    ramp = tf.tile(tf.reshape(tf.linspace(1.0, 254.0, 32), (1, 1, 32, 1)), (64, 32, 1, 3))
    lit = degrade(ramp, tf.constant([7, 1])).numpy()
    assert (np.diff(lit, axis=2) >= 0).all()
    light = lit.mean(axis=(1, 2, 3)) / ramp.numpy().mean()
    assert light.min() < 0.35
    assert light.max() > 0.9
    assert light.max() < 1.3


def test_noise_leaves_the_mean_of_a_chip(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "NOISY")
    noisy = degrade(tf.fill((16, 48, 48, 3), 120.0), tf.constant([7, 1])).numpy()
    np.testing.assert_allclose(noisy.mean(axis=(1, 2, 3)), 120, atol=1.5)
    assert noisy.std(axis=(1, 2, 3)).max() <= degradation.NOISE * 1.1


def test_a_coarse_chip_shows_the_same_with_less_detail(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "COARSE")
    chips = faces(16)
    detailed = chips + tf.random.stateless_normal(chips.shape, (1, 2), stddev=20.0)
    coarse = degrade(detailed, tf.constant([7, 3])).numpy()
    assert np.diff(coarse, axis=2).std() < 0.8 * np.diff(detailed.numpy(), axis=2).std(), "detail is gone"
    luma = [values.mean(axis=-1).ravel() for values in (coarse, chips.numpy())]  # JPEG halves the colors' resolution
    assert np.corrcoef(*luma)[0, 1] > 0.85, "the face stays in place"


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 5), st.sampled_from([32, 40, 96]), st.integers(0, 2**31))
def test_any_batch_and_size_of_chips_is_changed_without_an_error(count: int, side: int, seed: int) -> None:
    chips = tf.zeros((count, 48, 48, 3), tf.uint8)
    assert augment(chips, tf.constant([seed, 1], tf.int64), side).shape == (count, side, side, 3)
