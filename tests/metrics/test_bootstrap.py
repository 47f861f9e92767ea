import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from ml.metrics.bootstrap import ImageBootstrap
from ml.metrics.estimate import Estimate, difference, estimate, proportion


def share(right, images, among=None, **options):
    right = np.asarray(right, bool)
    among = np.ones(len(right), bool) if among is None else among
    return ImageBootstrap(images, **options).shares([(right, among)])[0]


@pytest.mark.parametrize(("right", "count"), [(0, 10), (10, 10), (343, 602), (1, 2)])
def test_the_interval_of_independent_trials_is_wilsons(right, count):
    z, value = 1.959963984540054, right / count
    centre = (value + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(value * (1 - value) / count + z**2 / (4 * count**2))
    found = proportion(right, count)
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half), abs=1e-9)
    assert found.count == count


def test_with_one_face_an_image_it_is_the_plain_bootstrap():
    right = np.random.default_rng(0).random(400) < 0.8
    plain = scipy.stats.bootstrap((right,), np.mean, n_resamples=5000, method="percentile", rng=1).confidence_interval
    found = share(right, np.arange(400), resamples=5000)
    assert found.value == right.mean()
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=0.006)


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=2, max_size=80), st.integers(2, 4))
def test_faces_said_twice_within_their_image_are_no_more_evidence(faces, times):
    images, right = [face[0] for face in faces], [face[1] for face in faces]
    once = share(right, images, resamples=200)
    again = share(right * times, images * times, resamples=200)
    assert again.model_dump() == pytest.approx({**once.model_dump(), "count": once.count * times})
    assert again.low <= again.value <= again.high


def test_faces_that_go_together_make_the_interval_wider():
    right = np.repeat(np.random.default_rng(2).random(200) < 0.7, 5)
    together = share(right, np.repeat(np.arange(200), 5))
    apart = share(right, np.arange(1000))
    ratio = (together.high - together.low) / (apart.high - apart.low)
    assert ratio == pytest.approx(math.sqrt(5), rel=0.15)
    assert (together.count, together.images, apart.images) == (1000, 200, 1000)


def test_all_right_is_not_certainty():
    found = share(np.ones(300, bool), np.repeat(np.arange(30), 10))
    assert found.value == found.high == 1
    assert found.low == pytest.approx(proportion(30, 30).low)


def test_one_image_alone_tells_little_and_no_face_nothing():
    found = share([True] * 50, ["a"] * 50)
    assert (found.value, found.images) == (1, 1)
    assert found.low == pytest.approx(proportion(1, 1).low)
    empty = share([True, False], ["a", "b"], among=np.zeros(2, bool))
    assert empty == Estimate.undefined(0, 0)
    assert estimate(0.3, np.full(9, 0.3), 5, 1).low is None


def test_asked_twice_it_gives_the_same_interval():
    right, images = np.random.default_rng(0).random(90) < 0.5, np.arange(90) // 2
    assert share(right, images) == share(right, images)


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6)), min_size=2, max_size=40))
def test_ranking_metrics_are_scikit_learns_ties_included(faces):
    truth, scores = np.array([f[0] for f in faces]), np.array([f[1] / 6 for f in faces])
    if len(set(truth)) < 2:
        truth[0] = 1 - truth[0]
    found = ImageBootstrap(np.arange(len(truth)), resamples=20).ranking(truth, scores)
    assert found.auc[0] == pytest.approx(roc_auc_score(truth, scores))
    assert found.average_precision[0] == pytest.approx(average_precision_score(truth, scores))
    assert found.auc.shape == (21,)


def test_a_resample_of_the_ranking_is_the_metric_of_the_faces_drawn():
    random = np.random.default_rng(4)
    truth, scores, images = random.integers(0, 2, 30), random.integers(0, 9, 30) / 9, np.arange(30) // 3
    bootstrap = ImageBootstrap(images, resamples=5)
    weights = bootstrap.sums([images == image for image in range(10)]) / 3  # how often each image was drawn
    found = bootstrap.ranking(truth, scores)
    for number, drawn in enumerate(weights, 1):
        assert found.auc[number] == pytest.approx(roc_auc_score(truth, scores, sample_weight=drawn[images]))


def test_the_difference_of_two_perfect_shares_is_not_known_to_be_nothing():
    bootstrap = ImageBootstrap(np.arange(40))
    half = np.arange(40) < 20
    one, other = bootstrap.shares([(half, half), (~half, ~half)])
    found = difference(one, other, np.zeros(2000))
    assert found.value == 0
    assert found.low == pytest.approx(-found.high)
    assert found.high == pytest.approx(1 - proportion(20, 20).low)
    nothing = bootstrap.shares([(half, np.zeros(40, bool))])[0]
    assert difference(one, nothing, np.zeros(2000)).value is None
