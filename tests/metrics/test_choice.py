"""A temperature, and on a small split a threshold, is changed only if that is better by more than noise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.metrics.calibration import apply_temperature
from ml.metrics.choice import Choice, choose_cut, choose_temperature

FACES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1), st.integers(0, 9)), min_size=1, max_size=40)


def deal(count: int, seed: int, sharpness: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Deal labels from known probabilities; return those with their logits times `sharpness`, labels, photographs."""
    random = np.random.default_rng(seed)
    second = random.beta(0.7, 0.7, count).clip(0.01, 0.99)
    truth = (random.random(count) < second).astype(np.int64)
    return apply_temperature(np.stack([1 - second, second], axis=1), 1 / sharpness), truth, np.arange(count)


def at(*second: float) -> np.ndarray:
    return np.array([[1 - value, value] for value in second])


def test_a_calibrated_network_on_a_small_split_keeps_its_temperature() -> None:
    choices = [choose_temperature(*deal(60, seed)) for seed in range(100)]
    assert sum(choice.chosen != 1.0 for choice in choices) <= 10, "5 in 100 are expected by chance"
    assert sum(choice.fitted != 1.0 for choice in choices) > 90, "which the fit alone would have changed"


@pytest.mark.parametrize("sharpness", [0.3, 3.0])
def test_a_network_far_from_calibrated_is_scaled(sharpness: float) -> None:
    choice = choose_temperature(*deal(400, 1, sharpness))
    assert choice.chosen == choice.fitted == pytest.approx(sharpness, rel=0.25)
    assert choice.gain > choice.noise > 0


def test_the_chosen_temperature_does_no_harm_to_new_faces() -> None:
    """On average over many small splits, the rule loses nothing that the fit alone would lose."""
    new, truth, _ = deal(20_000, 999)

    def loss(temperature: float) -> float:
        scaled = apply_temperature(new, temperature)
        return float(-np.log(scaled[np.arange(len(truth)), truth]).mean())

    choices = [choose_temperature(*deal(40, seed)) for seed in range(100)]
    chosen, fitted = (np.mean([loss(getattr(choice, name)) for choice in choices]) for name in ("chosen", "fitted"))
    assert loss(1.0) <= chosen < loss(1.0) + 0.3 * (fitted - loss(1.0))


def test_faces_of_one_photograph_are_not_independent_evidence() -> None:
    probabilities, truth, images = deal(30, 4, 1.6)
    copies = [np.repeat(part, 20, axis=0) for part in (probabilities, truth)]
    by_photograph = choose_temperature(*copies, np.repeat(images, 20))
    one_by_one = choose_temperature(*copies, np.arange(600))
    assert by_photograph.gain / by_photograph.noise < one_by_one.gain / one_by_one.noise
    assert choose_temperature(probabilities, truth, np.zeros(30)).chosen == 1.0, "a single photograph proves nothing"


def test_the_threshold_stays_at_one_half_if_the_recalls_differ_by_chance() -> None:
    # Two of 30 female faces are wrong at 0.5, none of 31 male ones.
    second = at(*[0.2] * 28, 0.6, 0.7, *[0.9] * 31)
    truth = np.repeat([0, 1], [30, 31])
    choice = choose_cut(second, truth, np.arange(61))
    assert choice.chosen == 0.5 != choice.fitted
    assert 0 < choice.gain < choice.noise


def test_the_threshold_moves_if_the_recalls_differ_by_more() -> None:
    second = at(*[0.2] * 20, *[0.6] * 10, *[0.9] * 31)
    truth = np.repeat([0, 1], [30, 31])
    choice = choose_cut(second, truth, np.arange(61))
    assert choice.chosen == choice.fitted > 0.5
    assert choose_cut(second, truth, np.arange(61) % 3).chosen == 0.5, "on three photographs it may be chance"


def test_a_large_split_moves_the_threshold_without_more_evidence() -> None:
    # One in fifteen female faces is wrong at 0.5, one in thirty male ones.
    second, truth = at(*[*[0.2] * 28, 0.6, 0.7] * 7, *[*[0.9] * 29, 0.4] * 7), np.repeat([0, 1], 210)
    exactly = np.concatenate([np.minimum(np.arange(210), 199), 200 + np.minimum(np.arange(210), 199)])
    choice = choose_cut(second, truth, exactly)
    assert choice.chosen == choice.fitted > 0.5
    assert 0 < choice.gain < choice.noise
    one_less = np.minimum(exactly, 398)  # 199 photographs of male faces
    assert choose_cut(second, truth, one_less).chosen == 0.5


def test_one_face_of_a_label_or_none_is_too_little() -> None:
    assert choose_cut(at(0.1, 0.4), np.array([0, 1]), np.arange(2)).chosen == 0.5
    assert choose_cut(at(0.6, 0.7), np.array([1, 1]), np.arange(2)) == Choice(0.5, 0.5)


@settings(max_examples=50)
@given(FACES)
def test_any_faces_give_a_finite_choice(faces: list[tuple[float, int, int]]) -> None:
    second, truth, images = (np.array(column) for column in zip(*faces, strict=True))
    probabilities = np.stack([1 - second, second], axis=1)
    for choose, plain in ((choose_temperature, 1.0), (choose_cut, 0.5)):
        choice = choose(probabilities, truth, images)
        assert choice.chosen == (choice.fitted if choice.gain > choice.noise else plain)
        assert np.isfinite([choice.fitted, choice.chosen, choice.gain, choice.noise]).all()
