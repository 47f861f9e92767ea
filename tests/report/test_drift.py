"""The words about drift: one line, and rows for all data and for the added data."""

from ml.metrics.drift import measure_drift
from ml.report.drift import drift_line, shift_rows, table_rows
from support.profiles import make_profile, together

OLD = make_profile()
NEW = make_profile(faces=1000, seed=2, size=300.0, male=0.9, deliveries=("2024-02-01",))


def test_data_that_have_not_drifted_are_said_not_to_have():
    assert drift_line(measure_drift(OLD, make_profile(seed=1))) == "No data drift against run earlier."


def test_the_furthest_is_named_first_and_the_rest_counted():
    line = drift_line(
        measure_drift(
            OLD,
            make_profile(seed=1, size=300.0, male=0.9, light=0.7, rows={**OLD.rows, "images": 3000, "labels": 10_000}),
            champion=4,
        )
    )
    head, _, rest = line.partition(". ")
    assert head == "Data drift (large) against run earlier (champion, version 4)"
    assert rest.startswith("All data: brightness, 0 to 1 (PSI ")
    assert rest.endswith(" more.")
    assert "moderate" not in line


def test_the_added_data_are_named_on_their_own():
    line = drift_line(measure_drift(OLD, together(OLD, NEW)))
    assert "All data" not in line
    assert " Added data: face size in pixels (PSI " in line


def test_rows_per_image_are_called_that():
    rows = {**OLD.rows, "labels": 20_000, "images": 3000}
    line = drift_line(measure_drift(OLD, make_profile(seed=1, rows=rows)))
    assert "labels per image (−33%)" in line
    assert "images (−25%)" in line


def test_each_row_of_all_data_is_followed_by_that_of_the_added():
    rows = shift_rows(measure_drift(OLD, together(OLD, NEW)))
    assert [(row.title, row.data) for row in rows[:2]] == [("labels", "all"), ("", "added")]
    assert rows[1].shift.current == 1000
    tables = table_rows(measure_drift(OLD, together(OLD, NEW)))
    assert [(row.change.table, row.data) for row in tables[:3]] == [
        ("classes", "all"),
        ("labels", "all"),
        ("labels", "added"),
    ]
    assert {row.data for row in shift_rows(measure_drift(OLD, make_profile(seed=1)))} == {"all"}
