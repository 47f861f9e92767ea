"""The range of the training faces: what lies in it, what lies outside and why, and a file that is read again."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml import storage
from ml.errors import DataError
from ml.model.novelty import NOVELTY, REASONS, Looks, Novelty, look, read_novelty
from ml.vision import images
from ml.workflow.manifest import File
from support.models import make_model

SIDE, MARGIN, FACES = 48, 0.2, 400
RANDOM = np.random.default_rng(0)


def draw(count, brightness=120, noise=12):
    """Blurred blocks, about as sharp as faces are."""
    coarse = np.clip(RANDOM.normal(brightness, 30, (count, 6, 6, 3)), 0, 255).astype(np.uint8)
    smooth = np.stack([cv2.resize(each, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) for each in coarse])
    return np.clip(smooth + RANDOM.normal(0, noise, smooth.shape), 0, 255).astype(np.uint8)


def features(count, away=0.0):
    """Features of two labels in turn, six apart in each direction; `away` leads across the line between both."""
    labels = np.arange(count) % 2
    return RANDOM.normal(0, 1, (count, 8)) + 6 * labels[:, None] + away * np.array([1, -1] * 4), labels


@pytest.fixture(scope="module")
def novelty():
    known, labels = features(FACES)
    return Novelty.fit(look(draw(FACES), np.full(FACES, 40.0), MARGIN), known, labels, features(FACES)[0])


def asked(novelty, chips, face_px=40.0, away=0.0):
    looks = look(chips, np.full(len(chips), face_px), MARGIN)
    return novelty.reasons(looks, features(len(chips), away)[0])


def share(reasons, reason):
    return sum(reason in each for each in reasons) / len(reasons)


def test_few_faces_like_those_of_the_training_are_unusual(novelty):
    found = asked(novelty, draw(1000))
    assert {reason: share(found, reason) <= 0.04 for reason in REASONS} == dict.fromkeys(REASONS, True)
    assert share(found, "size") == 0


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("brightness", {"chips": (draw(50) * 0.2).astype(np.uint8)}),
        ("brightness", {"chips": np.clip(draw(50).astype(int) + 110, 0, 255).astype(np.uint8)}),
        ("size", {"face_px": 20.0}),
        ("sharpness", {"chips": np.stack([cv2.GaussianBlur(chip, (0, 0), 3) for chip in draw(50)])}),
        ("sharpness", {"chips": draw(50, noise=40)}),
        ("features", {"away": 5.0}),
    ],
)
def test_a_face_outside_the_range_is_unusual_and_the_reason_is_told(novelty, reason, change):
    found = asked(novelty, **{"chips": draw(50), **change})
    assert share(found, reason) > 0.9
    assert all(set(each) <= set(REASONS) for each in found)


@settings(max_examples=30, deadline=None)
@given(st.floats(1, 4000), st.floats(1, 4000))
def test_faces_larger_than_the_chip_shows_are_of_one_size(one, other):
    looks = look(np.zeros((2, SIDE, SIDE, 3), np.uint8), np.array([one, other]), MARGIN)
    shown = SIDE / (1 + 2 * MARGIN)
    assert (looks.size <= shown).all()
    assert (looks.size[0] == looks.size[1]) == (min(one, shown) == min(other, shown))


def test_a_distance_is_that_to_the_nearest_label_and_counts_spread_directions_less():
    wide = RANDOM.normal(0, (10.0, 1.0), (2000, 2))
    labels = np.repeat([0, 1], 1000)
    wide[labels == 1] += (0.0, 20.0)
    blank = np.zeros((2000, 8, 8, 3), np.uint8)
    fitted = Novelty.fit(look(blank, np.full(2000, 9.0), MARGIN), wide, labels, wide)
    along, across, at_other = fitted.distances(np.array([[10.0, 0.0], [0.0, 10.0], [0.0, 20.0]]))
    assert along < across / 20
    assert at_other < 0.1


def test_faces_of_one_label_have_a_range_too():
    known, _ = features(200)
    looks = look(draw(200), np.full(200, 40.0), MARGIN)
    alone = Novelty.fit(looks, known[1::2], np.ones(100, int), known[1::2])
    assert (alone.distances(known[1::2]) <= alone.distance).mean() >= 0.99
    assert (alone.distances(known[::2]) > alone.distance).mean() > 0.9


def test_no_face_has_no_reason(novelty):
    nothing = np.zeros(0)
    assert novelty.reasons(Looks(nothing, nothing, nothing), np.zeros((0, 8))) == []


def test_the_file_holds_what_was_fitted_and_an_older_model_has_none(novelty, tmp_path):
    manifest = make_model(tmp_path)
    assert read_novelty(manifest) is None
    storage.write_bytes(storage.join(manifest.uri, NOVELTY), novelty.content())
    listed = manifest.model_copy(update={"files": [*manifest.files, File(path=NOVELTY, bytes=1)]})
    again = read_novelty(listed)
    chips = np.concatenate([draw(20), draw(20, brightness=10)])
    known, _ = features(40)
    looks = look(chips, np.full(40, 40.0), MARGIN)
    assert again.reasons(looks, known) == novelty.reasons(looks, known)
    assert novelty.content() == novelty.content(), "the same training writes the same file"
    storage.write_bytes(storage.join(manifest.uri, NOVELTY), b"no archive")
    with pytest.raises(DataError, match="cannot be read") as refused:
        read_novelty(listed)
    assert refused.value.advice == "Train again."


def test_sharpness_falls_with_blur_and_rises_with_noise():
    (chip,) = draw(1)
    blurred, noisy = cv2.GaussianBlur(chip, (0, 0), 2), chip ^ RANDOM.integers(0, 64, chip.shape, np.uint8)
    assert images.sharpness(blurred) < images.sharpness(chip) < images.sharpness(noisy)
    assert images.sharpness(np.full((9, 9, 3), 77, np.uint8)) == 0
