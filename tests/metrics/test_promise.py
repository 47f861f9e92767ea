"""A tolerated error rate becomes a confidence that holds it, or nothing does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from ml.errors import ConfigurationError
from ml.metrics.bootstrap import ImageBootstrap
from ml.metrics.decision import decide
from ml.metrics.promise import (
    RISKS,
    START_SHARE,
    RiskTable,
    make_promise,
    p_values,
    promise_metrics,
    require_promise,
    risk_table,
    smallest_risk,
)

FACES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1), st.integers(0, 9)), max_size=80)
RISK = st.floats(0.001, 0.5)


def table_of(faces, threshold=0.5):
    second = np.array([face[0] for face in faces])
    truth = np.array([face[1] for face in faces], int)
    images = np.array([face[2] for face in faces])
    return risk_table(np.stack([1 - second, second], axis=1), truth, threshold, images)


def drawn(random, count, errors=1.0, images=None):
    """Probabilities and labels of faces of a model that is wrong `errors` times as often as it says."""
    second = random.beta(0.5, 0.5, count)
    wrong = random.random(count) < errors * np.minimum(second, 1 - second)
    truth = np.where(wrong, second < 0.5, second >= 0.5).astype(int)
    return np.stack([1 - second, second], axis=1), truth, np.arange(count) if images is None else images


def risk_of(promise, probabilities, truth):
    predicted = decide(probabilities, 0.5)
    answered = probabilities[np.arange(len(truth)), predicted] >= promise.min_confidence
    return (predicted != truth)[answered].mean()


@settings(max_examples=60, deadline=None)
@given(FACES, RISK, RISK, st.floats(0.05, 0.95))
def test_a_smaller_risk_never_answers_more(faces, one, other, threshold):
    table = table_of(faces, threshold)
    small, large = (make_promise(table, risk) for risk in sorted((one, other)))
    if small:
        assert large
        assert small.min_confidence >= large.min_confidence
        assert small.answered <= large.answered


@settings(max_examples=60, deadline=None)
@given(FACES, RISK)
def test_a_promise_rests_on_fewer_errors_than_it_allows(faces, risk):
    if promise := make_promise(table_of(faces), risk):
        assert promise.wrong / promise.answered < risk
        assert promise.answered >= START_SHARE * len(faces)
        assert promise.coverage == promise.answered / len(faces)


def test_the_promise_is_held_where_the_error_rate_is_known():
    """Of 150 models calibrated on 1,000 faces, at most 5% give a threshold whose true risk is too high."""
    random = np.random.default_rng(0)
    future = drawn(random, 50_000)[:2]
    found = [make_promise(risk_table(*drawn(random, 1000)[:2], 0.5, np.arange(1000)), 0.05) for _ in range(150)]
    made = [promise for promise in found if promise]
    broken = sum(risk_of(promise, *future) > 0.05 for promise in made)
    assert len(made) > 100, "a promise that is rarely made would show nothing"
    assert broken <= binom.ppf(0.99, 150, 0.05)
    assert np.mean([promise.coverage for promise in made]) > 0.3


def test_as_many_new_faces_as_in_validation_break_the_promise_in_few_deals():
    random = np.random.default_rng(1)
    broken = 0
    for _ in range(150):
        promise = make_promise(risk_table(*drawn(random, 1000)[:2], 0.5, np.arange(1000)), 0.05)
        broken += bool(promise) and risk_of(promise, *drawn(random, 1000)[:2]) > 0.05
    assert broken <= binom.ppf(0.99, 150, 0.05)


def test_faces_of_a_photograph_that_are_wrong_together_count_once():
    random = np.random.default_rng(2)
    future = drawn(random, 50_000)[:2]
    broken = made = 0
    for _ in range(80):
        probabilities, truth, _ = drawn(random, 500)
        repeated = np.repeat(np.arange(500), 6)
        promise = make_promise(risk_table(probabilities[repeated], truth[repeated], 0.5, repeated), 0.05)
        alone = make_promise(risk_table(probabilities, truth, 0.5, np.arange(500)), 0.05)
        assert (promise and promise.min_confidence) == (alone and alone.min_confidence)
        made += bool(promise)
        broken += bool(promise) and risk_of(promise, *future) > 0.05
    assert made > 30
    assert broken <= binom.ppf(0.99, 80, 0.05)


def test_the_test_rejects_only_where_the_exact_binomial_test_does():
    for trials in (1, 7, 50, 400, 3000):
        wrong = list(range(trials + 1))
        table = RiskTable(
            faces=trials,
            thresholds=[0.5] * len(wrong),
            answered=[trials] * len(wrong),
            wrong=wrong,
            photographs=[float(trials)] * len(wrong),
        )
        for risk in (0.001, 0.02, 0.05, 0.3, 0.5):
            passed = p_values(table, risk) <= 0.05
            assert (binom.cdf(wrong, trials, risk)[passed] <= 0.05).all()


def test_a_model_without_errors_promises_what_its_number_of_faces_allows():
    faces = [(0.99, 1, number) for number in range(1000)]
    table = table_of(faces)
    assert make_promise(table, 0.01).coverage == 1
    assert 0.003 < smallest_risk(table) <= 0.006
    assert make_promise(table, smallest_risk(table))
    assert not make_promise(table, smallest_risk(table) - 0.001)
    assert smallest_risk(table_of(faces[:100])) > 0.03, "a hundred faces show less"


@pytest.mark.parametrize(
    "faces",
    [[], [(0.99, 0, 1)], [(0.9, 0, number) for number in range(500)], [(0.8, number % 2, 1) for number in range(90)]],
)
def test_no_faces_or_only_wrong_ones_or_one_photograph_promise_nothing(faces):
    table = table_of(faces)
    assert make_promise(table, 0.5) is None
    assert smallest_risk(table) is None
    with pytest.raises(ConfigurationError, match="can promise no error rate"):
        require_promise(table, 0.5)


def test_faces_of_equal_confidence_are_answered_together_or_not_at_all():
    faces = [(0.9, 1, number) for number in range(400)] + [(0.6, number % 2, 400 + number) for number in range(400)]
    table = table_of(faces)
    assert table.answered == [400, 800]
    promise = make_promise(table, 0.05)
    assert (promise.answered, promise.wrong) == (400, 0)
    assert 0.6 < promise.min_confidence <= 0.9


def test_what_cannot_be_promised_names_what_can():
    probabilities, truth, images = drawn(np.random.default_rng(3), 600)
    table = risk_table(probabilities, truth, 0.5, images)
    smallest = smallest_risk(table)
    with pytest.raises(ConfigurationError, match=rf"on the model's 600 validation faces.*is {smallest:g}:"):
        require_promise(table, smallest / 2)
    assert require_promise(table, smallest).max_risk == smallest
    with pytest.raises(ConfigurationError, match=r"before models recorded.*Train it again"):
        require_promise(None, 0.05)


def test_promises_are_checked_on_the_test_split_with_intervals():
    random = np.random.default_rng(4)
    table = risk_table(*drawn(random, 2000)[:2], 0.5, np.arange(2000))
    probabilities, truth, images = drawn(random, 1500)
    found = promise_metrics(table, 0.07, truth, probabilities, decide(probabilities, 0.5), ImageBootstrap(images, 200))
    assert [row.max_risk for row in found.checked] == sorted({*RISKS, 0.07})
    own = found.own
    assert own.promise.max_risk == 0.07
    assert own.held
    assert own.risk.low < own.risk.value < own.risk.high
    assert own.risk.value == pytest.approx(risk_of(own.promise, probabilities, truth))
    assert own.coverage.value * 1500 == pytest.approx(own.risk.count)
    assert found.smallest < 0.07
    worse = drawn(random, 1500, errors=3.0)
    shifted = promise_metrics(table, 0.07, worse[1], worse[0], decide(worse[0], 0.5), ImageBootstrap(images, 200))
    assert not shifted.own.held, "photographs of another kind may break it, and the check says so"


def test_without_a_stated_risk_the_usual_ones_are_checked():
    probabilities, truth, images = drawn(np.random.default_rng(5), 300)
    table = risk_table(probabilities, truth, 0.5, images)
    found = promise_metrics(table, None, truth, probabilities, decide(probabilities, 0.5), ImageBootstrap(images, 50))
    assert found.own is None
    assert [row.max_risk for row in found.checked] == list(RISKS)
    assert found.checked[0].promise is None
    assert found.checked[0].held
