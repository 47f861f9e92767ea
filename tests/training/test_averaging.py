"""Tests of the moving average of a network's weights."""

import keras
import numpy as np

from ml.training.averaging import EVERY, WeightAverage


def network(value: float) -> keras.Model:
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.BatchNormalization()(keras.layers.Dense(1)(inputs)))
    set_all(model, value)
    return model


def set_all(model: keras.Model, value: float) -> None:
    model.set_weights([np.full(weight.shape, value) for weight in model.get_weights()])


def test_a_long_average_follows_its_formula_and_holds_the_batch_statistics_too() -> None:
    model, average = network(0.0), WeightAverage(0.99)
    average.update(model, 10_000)
    set_all(model, 1.0)
    for step in range(10_001, 10_001 + 10 * EVERY):
        average.update(model, step)
    assert len(average.weights) == len(model.weights) == 6
    for weight in average.weights:
        np.testing.assert_allclose(weight, 1 - 0.99 ** (10 * EVERY), rtol=1e-5)


def test_a_short_training_is_not_dominated_by_its_first_weights() -> None:
    model, average = network(0.0), WeightAverage(0.9999)
    average.update(model, 1)
    set_all(model, 1.0)
    for step in range(2, 101):
        average.update(model, step)
    assert all((weight > 0.99).all() for weight in average.weights)


def test_a_count_stays_what_it_is() -> None:
    """The normalization inside EfficientNetB* has one, an integer."""
    model, average = keras.Sequential([keras.Input((2,)), keras.layers.Normalization()]), WeightAverage(0.9)
    model.set_weights([np.zeros(2), np.ones(2), np.array(5)])
    for step in range(1, 2 * EVERY):
        average.update(model, step)
    mean, variance, count = average.weights
    assert (mean == 0).all()
    assert (variance == 1).all()
    assert count == 5


def test_swapping_twice_changes_nothing_and_training_goes_on_from_its_own_weights() -> None:
    model, average = network(3.0), WeightAverage(0.5)
    average.update(model, 4)
    set_all(model, 7.0)
    average.swap(model)
    assert all((weight == 3).all() for weight in model.get_weights())
    average.swap(model)
    assert all((weight == 7).all() for weight in model.get_weights())
    assert all((weight == 3).all() for weight in average.weights)
