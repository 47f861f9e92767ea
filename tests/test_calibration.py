import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.calibration import (
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


def balanced(second: np.ndarray, truth: np.ndarray, threshold: float) -> float:
    given_second = second >= threshold
    return float((~given_second[truth == 0]).mean() + given_second[truth == 1].mean()) / 2


@given(faces)
def test_no_threshold_has_a_much_higher_balanced_accuracy(pairs: list[tuple[float, int]]) -> None:
    probabilities, truth = arrays(pairs)
    chosen = choose_threshold(probabilities, truth)
    assert THRESHOLDS[0] <= chosen <= THRESHOLDS[1]
    if len(set(truth)) == 2:
        others = [*np.linspace(*THRESHOLDS, 91), *np.clip(probabilities[:, 1], *THRESHOLDS)]
        best = max(balanced(probabilities[:, 1], truth, other) for other in others)
        # The largest standard error of a mean of two shares.
        slack = np.sqrt(sum(0.25 / (truth == index).sum() for index in (0, 1))) / 2
        assert balanced(probabilities[:, 1], truth, chosen) >= best - slack - 1e-9


def test_the_threshold_makes_both_recalls_equal_where_that_costs_nothing_that_can_be_measured() -> None:
    random = np.random.default_rng(0)
    truth = np.repeat([0, 1], 500)
    # The second label's probabilities are too low throughout, as after a shift between splits.
    second = 1 / (1 + np.exp(-random.normal(np.where(truth == 1, 1.0, -2.0), 1.2)))
    chosen = choose_threshold(np.stack([1 - second, second], axis=1), truth)
    recalls = [((second >= chosen) == index)[truth == index].mean() for index in (0, 1)]
    assert abs(recalls[0] - recalls[1]) <= 0.002
    assert 0.3 < chosen < 0.45


def test_the_threshold_on_a_plateau_is_the_one_nearest_to_one_half() -> None:
    def at(*second: float) -> np.ndarray:
        return np.array([[1 - value, value] for value in second])

    assert choose_threshold(at(0.1, 0.2, 0.8, 0.9), np.array([0, 0, 1, 1])) == 0.5
    assert choose_threshold(at(0.1, 0.2, 0.3, 0.4), np.array([0, 0, 1, 1])) == 0.25
    assert choose_threshold(at(0.6, 0.7, 0.8), np.array([0, 0, 1])) == pytest.approx(0.75)
    assert choose_threshold(at(0.03, 0.06, 0.07), np.array([0, 1, 1])) == 0.05
    assert choose_threshold(at(0.6, 0.7), np.array([1, 1])) == 0.5


def test_calibration_error_and_brier_of_known_faces() -> None:
    probabilities, truth = np.array([[0.2, 0.8]] * 10), np.array([1] * 6 + [0] * 4)
    assert expected_calibration_error(probabilities, truth) == pytest.approx(0.2)  # says 0.8, is right on 0.6
    assert brier(probabilities, truth) == pytest.approx((6 * 0.04 + 4 * 0.64) / 10)
    assert expected_calibration_error(np.array([[0.0, 1.0]]), np.array([1])) == 0


@given(faces)
def test_bins_are_of_ascending_confidence_and_of_about_equal_size(pairs: list[tuple[float, int]]) -> None:
    probabilities, truth = arrays(pairs)
    predicted = probabilities.argmax(axis=1)
    place = calibration_bins(probabilities, predicted, 5)
    confidence = probabilities.max(axis=1)
    order = np.argsort(confidence)
    assert (np.diff(place[order]) >= 0).all()
    assert sorted(set(place)) == list(range(place.max() + 1)), "no bin is empty"
    if len(set(confidence)) == len(confidence):
        assert np.bincount(place).max() <= -(-len(confidence) // min(5, len(confidence))) + 1
    assert 0 <= expected_calibration_error(probabilities, truth, 5) <= 1
