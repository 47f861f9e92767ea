"""Drift between the data of two runs: of all data, of what was added, of the rows by table."""

import pytest

from ml.metrics.drift import added, measure_drift
from support.profiles import make_profile, together

OLD = make_profile()


def levels(found):
    return {shift.name: shift.level for shift in found.shifts if shift.level != "none"}


def test_data_drawn_alike_have_not_drifted():
    found = measure_drift(OLD, make_profile(seed=1))
    assert found.level == "none"
    assert {shift.name for shift in found.whole.shifts} == {
        *("labels", "splits", "outcomes", "classes", "agreement", "face_px", "brightness"),
    }
    assert [row.change for row in found.whole.rows] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("changes", "name"),
    [({"size": 240.0}, "face_px"), ({"light": 0.62}, "brightness"), ({"male": 0.8}, "labels")],
)
def test_what_drifts_is_named_and_nothing_else(changes, name):
    assert levels(measure_drift(OLD, make_profile(seed=1, **changes)).whole) == {name: "large"}


def test_a_small_delivery_drifts_although_all_data_together_do_not():
    old = make_profile(faces=20_000)
    new = make_profile(faces=1000, seed=2, size=300.0, deliveries=("2024-02-01",))
    found = measure_drift(old, together(old, new))
    assert levels(found.whole) == {}
    assert levels(found.added) == {"face_px": "large"}
    assert (found.level, found.new_deliveries) == ("large", ("2024-02-01",))


def test_the_added_data_are_exactly_the_delivery():
    new = make_profile(faces=1000, seed=2, male=0.9, deliveries=("2024-02-01",))
    found = added(OLD, together(OLD, new))
    assert found.histograms == new.histograms
    assert found.categories == new.categories
    assert found.rows == {name: count for name, count in new.rows.items() if name != "classes"}


def test_added_data_cannot_be_told_apart_if_deliveries_settings_or_many_images_changed():
    new = make_profile(faces=1000, seed=2, deliveries=("2024-02-01",))
    both = together(OLD, new)
    assert added(OLD, both) is not None
    assert added(OLD, OLD) is None
    assert added(OLD, new) is None
    assert added(OLD, both.model_copy(update={"deliveries": {**both.deliveries, "2024-01-01": "corrected"}})) is None
    assert added(OLD, both.model_copy(update={"settings": {**OLD.settings, "min_face_size": 48}})) is None
    assert (
        added(
            OLD, both.model_copy(update={"categories": {**both.categories, "labels": {"female": 4000, "male": 1000}}})
        )
        is None
    )


def test_a_class_that_enters_the_list_of_the_most_frequent_does_not_count():
    classes = {"Person": 8000, "Human face": 4000, "Dog": 5000}
    current = make_profile(categories={**OLD.categories, "classes": classes})
    assert "classes" not in levels(measure_drift(OLD, current).whole)


@pytest.mark.parametrize(
    ("rows", "level"),
    [
        ({"images": 8000, "labels": 80_000, "boxes": 32_000}, "none"),  # twice the data
        ({"images": 8000, "labels": 70_000, "boxes": 32_000}, "moderate"),
        ({"images": 8000, "labels": 40_000, "boxes": 32_000}, "large"),
        ({"images": 3400, "labels": 34_000, "boxes": 13_600}, "moderate"),  # images have gone
        ({"classes": 300}, "large"),
    ],
)
def test_rows_drift_per_image_and_images_only_downward(rows, level):
    assert measure_drift(OLD, make_profile(rows={**OLD.rows, **rows})).level == level


def test_few_images_do_not_warn_of_rows():
    few = make_profile(rows={"classes": 601, "labels": 1000, "images": 100})
    found = measure_drift(few, make_profile(rows={"classes": 601, "labels": 1500, "images": 100}))
    assert [(row.change, row.level) for row in found.whole.rows] == [(0, "none"), (0.5, "none"), (0, "none")]


def test_settings_that_differ_are_named():
    found = measure_drift(OLD, make_profile(settings={**OLD.settings, "min_face_size": 48}))
    assert [(each.name, each.reference, each.current) for each in found.settings] == [("min_face_size", 32, 48)]
