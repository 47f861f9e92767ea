"""Every number that the report states, checked against counts made by hand."""

import json
import math

import numpy as np
import pytest

from ml.errors import DataError
from ml.flow.record import Record
from ml.metrics.classification import check_answers
from ml.metrics.decision import decide
from ml.metrics.estimate import Estimate, proportion
from support.answers import LABELS, answers, assert_confusion_as_counted, measured


def measure(counts, threshold=0.5, sure=0.9):
    return measured(*answers(counts, sure), threshold)


def numbers(metrics):
    """All numbers with an interval."""
    if isinstance(metrics, Estimate):
        yield metrics
    elif isinstance(metrics, dict | Record):
        for part in dict(metrics).values():
            yield from numbers(part)


def test_the_confusion_matrix_has_annotated_rows_and_predicted_columns():
    assert_confusion_as_counted()


def test_precision_and_recall_are_not_each_other():
    # The notebook swapped false positives with false negatives, and no test caught it.
    metrics = measure([[5, 1], [2, 12]]).by_label
    assert metrics["female"].recall.value == pytest.approx(5 / 6)
    assert metrics["female"].precision.value == pytest.approx(5 / 7)
    assert metrics["male"].recall.value == pytest.approx(12 / 14)
    assert metrics["male"].precision.value == pytest.approx(12 / 13)
    assert metrics["female"].f1.value == pytest.approx(10 / 13)
    assert [metrics[label].support for label in LABELS] == [6, 14]
    assert [metrics[label].precision.count for label in LABELS] == [7, 13]
    assert [metrics[label].recall.count for label in LABELS] == [6, 14]


def test_the_recall_gap_names_who_is_served_worse():
    gap = measure([[5, 1], [2, 12]]).recall_gap
    assert (gap.better, gap.worse) == ("male", "female")
    assert gap.value == pytest.approx(12 / 14 - 5 / 6)
    assert gap.low < 0 < gap.high, "of so few faces nobody can tell"
    clear = measure([[30, 30], [5, 55]]).recall_gap
    assert clear.low > 0


def test_every_number_has_count_images_and_an_interval_that_holds_it():
    for number in numbers(measure([[50, 10], [20, 60]])):
        assert number.low < number.value < number.high
        assert number.count >= number.images > 0


def test_all_right_leaves_no_interval_a_point():
    for number in numbers(measure([[40, 0], [0, 60]], sure=0.8)):
        if number.value == 1:
            assert number.low < 1
    gap = measure([[40, 0], [0, 60]]).recall_gap
    assert gap.low < gap.value == 0 < gap.high


def test_faces_of_one_image_are_not_evidence_of_their_own():
    truth, probabilities = answers([[30, 20], [20, 30]])
    alone = measured(truth, probabilities)
    order = np.argsort(decide(probabilities, 0.5) == truth, kind="stable")  # the right ones together
    images = np.empty(100, int)
    images[order] = np.arange(100) // 5
    together = measured(truth, probabilities, images=images)
    for name in ("accuracy", "log_loss", "auc", "balanced_accuracy"):
        one, other = getattr(together, name), getattr(alone, name)
        assert one.value == other.value
        assert one.high - one.low > 1.5 * (other.high - other.low)
    assert (together.faces, together.images) == (100, 20)


def test_the_notebooks_result_is_not_distinguishable_from_guessing():
    # Its 602 chips: 56.98% right, 319 of one label. Its classification report gives recalls of 0.56 and 0.58.
    metrics = measure([[178, 141], [118, 165]])
    assert metrics.accuracy.value == pytest.approx(0.5698, abs=5e-5)
    assert metrics.majority.label == "female"
    assert metrics.majority.value == pytest.approx(0.5299, abs=5e-5)
    assert metrics.majority.count == 602
    assert metrics.by_label["female"].recall.value == pytest.approx(0.56, abs=5e-3)
    assert metrics.by_label["male"].recall.value == pytest.approx(0.58, abs=5e-3)
    # Were each chip an image. The chips came about ten from an image, which makes it worse.
    wilson = proportion(343, 602)
    assert (metrics.accuracy.low, metrics.accuracy.high) == pytest.approx((wilson.low, wilson.high), abs=0.005)
    assert metrics.beats_majority is False


def test_a_result_within_the_intervals_reach_of_the_majority_does_not_beat_it():
    assert measure([[58, 42], [40, 60]]).beats_majority is True
    assert measure([[55, 45], [45, 55]]).beats_majority is False


def test_a_probability_at_the_threshold_is_the_second_label():
    probabilities = np.array([[0.5, 0.5], [0.51, 0.49], [0.3, 0.7]], np.float32)
    assert decide(probabilities, 0.5).tolist() == [1, 0, 1]
    assert decide(probabilities, 0.7).tolist() == [0, 0, 1]


def test_auc_and_log_loss_use_the_probabilities():
    truth = np.array([0, 0, 1, 1])
    second = np.array([0.1, 0.4, 0.35, 0.8])
    metrics = measured(truth, np.stack([1 - second, second], axis=1))
    assert metrics.auc.value == pytest.approx(0.75)
    assert metrics.auc.count == 4
    assert metrics.log_loss.value == pytest.approx(-np.log([0.9, 0.6, 0.35, 0.8]).mean())
    assert metrics.balanced_accuracy.value == pytest.approx(0.75)
    assert metrics.by_label["male"].average_precision.value == pytest.approx((1 + 2 / 3) / 2)


def test_a_sure_and_wrong_answer_leaves_the_log_loss_a_number():
    metrics = measured(np.array([0, 1]), np.array([[0.0, 1.0], [1.0, 0.0]], np.float32))
    assert metrics.log_loss.value == pytest.approx(-math.log(1e-7))
    assert metrics.accuracy.value == 0


def test_one_label_alone_leaves_what_it_does_not_define_empty():
    metrics = measure([[0, 0], [3, 7]])
    assert metrics.auc == Estimate.undefined(10, 10)
    assert metrics.balanced_accuracy.value is None
    assert metrics.recall_gap.value is None
    assert metrics.by_label["female"].recall == Estimate.undefined(0, 0)
    assert metrics.by_label["female"].precision.value == 0
    assert metrics.accuracy.value == pytest.approx(0.7)
    assert metrics.majority.value == 1
    assert metrics.beats_majority is False


def test_a_label_never_predicted_has_no_precision():
    metrics = measure([[6, 0], [4, 0]])
    assert metrics.by_label["male"].precision.value is None
    assert metrics.by_label["male"].f1.value == 0


def test_one_image_of_one_face_is_measured_without_pretending():
    metrics = measure([[1, 0], [0, 0]])
    assert metrics.accuracy.value == 1
    assert metrics.accuracy.low == pytest.approx(proportion(1, 1).low)
    assert metrics.log_loss.low is None


def test_the_metrics_are_json_without_nan():
    json.dumps(measure([[0, 0], [3, 7]]).json_values(), allow_nan=False)


def test_no_faces_are_a_data_error():
    with pytest.raises(DataError, match="no faces"):
        check_answers(np.zeros(0, np.int64), np.zeros((0, 2)))


@pytest.mark.parametrize("value", [np.nan, 1.2, -0.1])
def test_what_is_no_probability_is_a_data_error(value):
    with pytest.raises(DataError, match="values outside 0 to 1"):
        check_answers(np.array([0]), np.array([[0.5, value]]))


@pytest.mark.parametrize(
    ("truth", "probabilities"),
    [(np.array([0, 1]), np.zeros((3, 2))), (np.array([0]), np.zeros((1, 3))), (np.array([2]), np.array([[0.5, 0.5]]))],
)
def test_shapes_and_indices_that_do_not_fit_are_refused(truth, probabilities):
    with pytest.raises(ValueError, match=r"expected|indices"):
        check_answers(truth, probabilities)
