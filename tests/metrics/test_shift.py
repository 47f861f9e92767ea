"""Two distributions differ as much as the textbook's measures say, and by chance only in small samples."""

import numpy as np
import pytest
from scipy import stats

from ml.features.histograms import EDGES
from ml.metrics.shift import compare_categories, compare_histograms, stability_index
from support.profiles import histogram

RANDOM = np.random.default_rng(7)
BRIGHT = EDGES["brightness"]


def normal(shift, count=5000):
    """Draw brightness that is shifted by a number of standard deviations."""
    return histogram("brightness", np.clip(RANDOM.normal(0.5 + 0.1 * shift, 0.1, count), 0, 1))


def test_the_index_is_that_of_the_formula():
    # Siddiqi's sum of (actual - expected) * ln(actual / expected), by hand.
    found = stability_index(np.array([50_000, 50_000]), np.array([70_000, 30_000]))
    assert found == pytest.approx(0.2 * np.log(0.7 / 0.5) - 0.2 * np.log(0.3 / 0.5), rel=1e-3)


def test_the_test_of_a_distribution_is_scipys_on_the_bins():
    one, other = RANDOM.normal(0.5, 0.1, 3000), RANDOM.normal(0.53, 0.1, 2000)
    found = compare_histograms("brightness", histogram("brightness", one), histogram("brightness", other))
    expected = stats.ks_2samp(*(np.searchsorted(BRIGHT, side, side="right") for side in (one, other)), method="asymp")
    assert found.effect == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.effect == pytest.approx(stats.ks_2samp(one, other).statistic, abs=0.01)  # the bins are fine


def test_the_effect_of_categories_is_cramers_v():
    counts = ({"female": 300, "male": 200, "none": 0}, {"female": 200, "male": 300, "none": 0})
    found = compare_categories("labels", *counts)
    table = np.array([[300, 200], [200, 300]])
    assert found.effect == pytest.approx(stats.contingency.association(table, method="cramer", correction=False))
    assert (found.most, found.before, found.after) == ("female", 0.6, 0.4)


@pytest.mark.parametrize(("shift", "level"), [(0.1, "none"), (0.4, "moderate"), (0.7, "large")])
def test_the_level_follows_the_size_of_the_shift(shift, level):
    found = compare_histograms("brightness", normal(0), normal(shift))
    assert found.level == level
    assert found.p_value < 0.001  # even the smallest is significant, and yet no drift


def test_a_few_faces_that_differ_by_chance_have_not_drifted():
    assert {compare_histograms("b", normal(0, 40), normal(0, 40)).level for _ in range(50)} == {"none"}
    assert max(compare_histograms("b", normal(0, 40), normal(0, 40)).psi for _ in range(50)) > 0.25


def test_a_distribution_in_one_bin_that_moves_has_drifted():
    one, other = (histogram("brightness", np.full(100, value)) for value in (0.4, 0.7))
    assert compare_histograms("brightness", one, other).level == "large"
    assert compare_histograms("brightness", one, one).psi == 0
    ends = [histogram("brightness", np.full(100, value)) for value in (0.0, 1.0)]
    assert compare_histograms("brightness", *ends).level == "large"


def test_a_category_that_is_new_or_gone_counts_and_gives_a_finite_index():
    found = compare_categories("outcomes", {"labelled": 900, "old": 100}, {"labelled": 500, "new": 500})
    assert found.level == "large"
    assert 0 < found.psi < 100


@pytest.mark.parametrize("empty", [({}, {"female": 3}), ({"female": 3}, {}), ({}, {})])
def test_without_values_on_one_side_nothing_is_measured(empty):
    found = compare_categories("labels", *empty)
    assert (found.psi, found.effect, found.p_value, found.level) == (None, None, None, "none")
    nothing = histogram("brightness", np.array([]))
    assert compare_histograms("brightness", nothing, normal(0)).psi is None


def test_one_category_on_both_sides_has_not_drifted():
    assert compare_categories("labels", {"female": 10}, {"female": 9}).level == "none"
