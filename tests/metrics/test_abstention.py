"""Calibration before and after the temperature, and what answering 'unknown' buys."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.metrics.abstention import abstention_metrics
from ml.metrics.bootstrap import ImageBootstrap
from ml.metrics.calibration import apply_temperature, calibration_metrics, expected_calibration_error

FACES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1), st.integers(0, 9)), min_size=1, max_size=50)


def arrays(faces):
    second = np.array([face[0] for face in faces])
    truth = np.array([face[1] for face in faces])
    images = np.array([face[2] for face in faces])
    return truth, np.stack([1 - second, second], axis=1), images


def calibrated(count=3000):
    random = np.random.default_rng(0)
    second = random.beta(0.8, 0.8, count).clip(0.01, 0.99)
    truth = (random.random(count) < second).astype(int)
    return truth, np.stack([1 - second, second], axis=1)


def test_before_is_what_the_network_would_say_without_its_temperature():
    truth, probabilities = calibrated()
    found = calibration_metrics(truth, probabilities, 2.0, ImageBootstrap(range(3000), resamples=400))
    overconfident = apply_temperature(probabilities, 0.5)
    assert found.before.ece.value == pytest.approx(expected_calibration_error(overconfident, truth))
    assert found.after.ece.value < 0.03 < 0.1 < found.before.ece.value
    for name in ("brier", "log_loss"):
        assert getattr(found.after, name).high < getattr(found.before, name).value
    for row in found.after.reliability:
        assert row.accuracy.low - 0.05 < row.confidence < row.accuracy.high + 0.05
    assert sum(row.accuracy.count for row in found.before.reliability) == 3000


def test_the_interval_of_the_calibration_error_reaches_below_it():
    truth, probabilities = calibrated()
    found = calibration_metrics(truth, probabilities, 1.0, ImageBootstrap(range(3000), resamples=400))
    ece = found.after.ece
    # Of a calibrated model all of it is chance, and so is what a resample adds.
    assert 0 <= ece.low < 0.7 * ece.value < ece.value < ece.high


def test_a_temperature_of_one_changes_nothing():
    truth, probabilities = calibrated(200)
    found = calibration_metrics(truth, probabilities, 1.0, ImageBootstrap(range(200)))
    assert found.before.ece.value == pytest.approx(found.after.ece.value)


@settings(max_examples=30)
@given(FACES, st.floats(0.5, 0.999))
def test_the_higher_the_confidence_asked_for_the_fewer_are_answered(faces, limit):
    truth, probabilities, images = arrays(faces)
    predicted = probabilities.argmax(axis=1)
    found = abstention_metrics(truth, probabilities, predicted, limit, ImageBootstrap(images, resamples=20))
    sure = probabilities.max(axis=1) >= limit
    assert found.unknown == (~sure).sum()
    assert found.coverage.value == pytest.approx(sure.mean())
    assert found.accuracy.count == sure.sum()
    if sure.any():
        assert found.accuracy.value == pytest.approx((predicted == truth)[sure].mean())
    else:
        assert found.accuracy.value is None
    counts = [row.accuracy.count for row in found.curve]
    limits = [row.min_confidence for row in found.curve]
    assert counts[0] == len(faces), "the curve begins with all faces"
    assert counts == sorted(counts, reverse=True)
    assert limits == sorted(limits)
    assert counts[-1] > 0


def test_withholding_the_unsure_answers_of_a_calibrated_model_helps():
    truth, probabilities = calibrated()
    found = abstention_metrics(
        truth, probabilities, probabilities.argmax(axis=1), 0.9, ImageBootstrap(range(3000), resamples=400)
    )
    assert found.accuracy.low > found.curve[0].accuracy.high
    assert found.accuracy.value > 0.9
