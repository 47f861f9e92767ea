"""The result of a sweep: mean and spread over seeds, the best by validation, and whether its lead may be chance."""

import statistics

import pytest

from ml.metrics.sweep import Spread, Trained, compare_trainings


def trainings(**losses):
    """The trainings of combinations, each named by its value of `network`."""
    flat = [(name, seed, loss) for name, found in losses.items() for seed, loss in enumerate(found)]
    return [
        Trained(
            number=number,
            run=f"file:///runs/{number}",
            values={"network": name},
            seed=seed,
            loss=loss,
            accuracy=1 - loss,
            best_epoch=3,
            seconds=60.0,
        )
        for number, (name, seed, loss) in enumerate(flat)
    ]


def test_the_combination_with_the_lowest_mean_is_first_and_its_best_seed_is_chosen():
    result = compare_trainings(trainings(lucky=[0.10, 0.50], steady=[0.22, 0.20], bad=[0.9, 0.8]), faces=61)
    assert [each.values["network"] for each in result.combinations] == ["steady", "lucky", "bad"]
    assert (result.best.number, result.best.loss) == (3, 0.20)
    assert result.faces == 61


def test_mean_and_spread_are_those_of_the_seeds():
    (only,) = compare_trainings(trainings(one=[0.1, 0.2, 0.4]), faces=9).combinations
    assert only.loss.mean == pytest.approx(0.7 / 3)
    assert only.loss.deviation == pytest.approx(statistics.stdev([0.1, 0.2, 0.4]))
    assert (only.loss.low, only.loss.high) == (0.1, 0.4)
    assert only.accuracy.mean == pytest.approx(1 - 0.7 / 3)


def test_one_seed_has_no_spread_and_shows_no_clear_lead():
    assert Spread.of([0.3]) == Spread(mean=0.3, deviation=None, low=0.3, high=0.3)
    lead = compare_trainings(trainings(a=[0.1], b=[0.2]), faces=9).lead
    assert (lead.error, lead.clear) == (None, None)
    assert lead.difference == pytest.approx(0.1)


def test_a_lead_within_the_spread_is_not_clear_and_one_beyond_it_is():
    near = compare_trainings(trainings(a=[0.20, 0.24, 0.28], b=[0.21, 0.25, 0.29]), faces=9).lead
    assert near.error == pytest.approx((0.04**2 / 3 * 2) ** 0.5)
    assert near.clear is False
    assert compare_trainings(trainings(a=[0.20, 0.21, 0.22], b=[0.50, 0.51, 0.52]), faces=9).lead.clear is True


def test_a_single_combination_has_no_lead():
    assert compare_trainings(trainings(a=[0.1, 0.2]), faces=9).lead is None


def test_a_training_that_an_older_version_did_leaves_the_accuracy_out():
    found = [each.model_copy(update={"accuracy": None}) for each in trainings(a=[0.1, 0.2])]
    assert compare_trainings(found, faces=9).combinations[0].accuracy is None
