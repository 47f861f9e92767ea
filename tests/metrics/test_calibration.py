import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from ml.metrics.calibration import (
    FACES_PER_BIN,
    THRESHOLDS,
    apply_temperature,
    brier,
    calibration_bins,
    choose_threshold,
    expected_calibration_error,
    face_log_losses,
    fit_temperature,
)

faces = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=60)


def arrays(pairs: list[tuple[float, int]]) -> tuple[np.ndarray, np.ndarray]:
    second = np.array([pair[0] for pair in pairs])
    return np.stack([1 - second, second], axis=1), np.array([pair[1] for pair in pairs])


def drawn(sharpness: float, count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from known probabilities, and those probabilities with their logits times `sharpness`."""
    random = np.random.default_rng(3)
    second = random.beta(0.7, 0.7, count).clip(0.01, 0.99)
    truth = (random.random(count) < second).astype(np.int64)
    return apply_temperature(np.stack([1 - second, second], axis=1), 1 / sharpness), truth


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 2.5])
def test_temperature_undoes_over_and_underconfidence(sharpness: float) -> None:
    probabilities, truth = drawn(sharpness)
    temperature = fit_temperature(probabilities, truth)
    assert temperature == pytest.approx(sharpness, rel=0.1)
    calibrated = apply_temperature(probabilities, temperature)
    assert expected_calibration_error(calibrated, truth) < 0.03


@given(faces)
def test_a_temperature_never_raises_the_log_loss_that_it_was_fitted_to(pairs: list[tuple[float, int]]) -> None:
    probabilities, truth = arrays(pairs)
    temperature = fit_temperature(probabilities, truth)
    after = face_log_losses(apply_temperature(probabilities, temperature), truth).mean()
    assert after <= face_log_losses(apply_temperature(probabilities, 1.0), truth).mean() + 1e-12
    assert np.isfinite(temperature)


def test_faces_that_are_all_told_apart_or_absent_change_nothing() -> None:
    assert fit_temperature(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1])) == 1.0
    assert fit_temperature(np.zeros((0, 2)), np.zeros(0, np.int64)) == 1.0


@given(st.floats(0.01, 0.99), st.floats(0.3, 4))
def test_the_inverse_temperature_undoes_a_temperature(second: float, temperature: float) -> None:
    probabilities = np.array([[1 - second, second]])
    there = apply_temperature(probabilities, temperature)
    assert there.sum() == pytest.approx(1)
    assert (there[0, 1] > 0.5 + 1e-9) <= (second > 0.5)  # never changes which label is the more probable
    if there.min() > 1e-6:
        assert apply_temperature(there, 1 / temperature) == pytest.approx(probabilities, abs=1e-6)


def shifted(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Faces of two labels, the second label's probabilities too low throughout, as after a shift between splits."""
    random = np.random.default_rng(seed)
    truth = np.repeat([0, 1], count)
    second = expit(random.normal(np.where(truth == 1, 1.5, -3.0), 2.0))
    return np.stack([1 - second, second], axis=1), truth


def recalls(probabilities: np.ndarray, truth: np.ndarray, threshold: float) -> tuple[float, float]:
    given_second = probabilities[:, 1] >= threshold
    return float((~given_second[truth == 0]).mean()), float(given_second[truth == 1].mean())


def test_the_threshold_makes_both_recalls_equal_on_other_faces() -> None:
    chosen = choose_threshold(*shifted(5000, seed=0))
    assert chosen == pytest.approx(expit(-0.75), abs=0.02)
    first, second = recalls(*shifted(50_000, seed=1), chosen)
    assert abs(first - second) < 0.02
    first, second = recalls(*shifted(50_000, seed=1), 0.5)
    assert first - second > 0.1, "which the shift would have cost"


def test_the_threshold_of_a_few_hundred_faces_varies_less_than_where_counted_recalls_meet() -> None:
    others = shifted(50_000, seed=0)

    def gap(threshold: float) -> float:
        first, second = recalls(*others, threshold)
        return first - second

    def counted(probabilities: np.ndarray, truth: np.ndarray) -> float:
        tried = np.sort(probabilities[:, 1])
        return float(min(tried, key=lambda value: abs(np.subtract(*recalls(probabilities, truth, value)))))

    deals = [shifted(350, seed) for seed in range(1, 61)]
    smooth, jagged = (np.std([gap(rule(*deal)) for deal in deals]) for rule in (choose_threshold, counted))
    assert smooth < 0.8 * jagged


@given(faces)
def test_the_threshold_is_within_bounds_and_mirrors_with_the_labels(pairs: list[tuple[float, int]]) -> None:
    probabilities, truth = arrays(pairs)
    chosen = choose_threshold(probabilities, truth)
    assert THRESHOLDS[0] <= chosen <= THRESHOLDS[1]
    assert choose_threshold(probabilities[:, ::-1], 1 - truth) == pytest.approx(1 - chosen, abs=1e-6)


@given(faces, st.floats(-2, 2))
def test_the_threshold_moves_with_the_log_odds_of_all_faces(pairs: list[tuple[float, int]], distance: float) -> None:
    probabilities, truth = arrays([(0.05 + 0.9 * second, label) for second, label in pairs])
    moved = expit(logit(probabilities[:, 1]) + distance)
    before, after = (choose_threshold(p, truth) for p in (probabilities, np.stack([1 - moved, moved], axis=1)))
    if set(truth) == {0, 1} and all(THRESHOLDS[0] < value < THRESHOLDS[1] for value in (before, after)):
        assert logit(after) - logit(before) == pytest.approx(distance, abs=1e-6)


def test_the_threshold_of_few_faces() -> None:
    def at(*second: float) -> np.ndarray:
        return np.array([[1 - value, value] for value in second])

    assert choose_threshold(at(0.1, 0.2, 0.8, 0.9), np.array([0, 0, 1, 1])) == pytest.approx(0.5)
    assert choose_threshold(at(0.1, 0.4), np.array([0, 1])) == pytest.approx(expit((logit(0.1) + logit(0.4)) / 2))
    assert choose_threshold(at(0.01, 0.02), np.array([0, 1])) == 0.05
    assert choose_threshold(at(1.0, 1.0), np.array([0, 1])) == 0.95
    assert choose_threshold(at(0.6, 0.7), np.array([1, 1])) == 0.5


def test_calibration_error_and_brier_of_known_faces() -> None:
    probabilities, truth = np.array([[0.2, 0.8]] * 10), np.array([1] * 6 + [0] * 4)
    assert expected_calibration_error(probabilities, truth) == pytest.approx(0.2)  # says 0.8, is right on 0.6
    assert brier(probabilities, truth) == pytest.approx((6 * 0.04 + 4 * 0.64) / 10)
    assert expected_calibration_error(np.array([[0.0, 1.0]]), np.array([1])) == 0


@given(faces)
def test_bins_are_of_ascending_confidence_and_of_about_equal_size(pairs: list[tuple[float, int]]) -> None:
    probabilities, truth = arrays(pairs)
    confidence = probabilities.max(axis=1)
    place = calibration_bins(confidence, 5)
    order = np.argsort(confidence)
    assert (np.diff(place[order]) >= 0).all()
    assert sorted(set(place)) == list(range(place.max() + 1)), "no bin is empty"
    if len(set(confidence)) == len(confidence):
        bins = max(1, min(5, len(confidence) // FACES_PER_BIN))
        assert np.bincount(place).max() <= -(-len(confidence) // bins) + 1
    assert 0 <= expected_calibration_error(probabilities, truth, 5) <= 1
