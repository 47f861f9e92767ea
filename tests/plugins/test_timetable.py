"""The timetable: a DAG that was just unpaused waits for the end of the interval; then it runs after each one."""

import datetime
from datetime import timedelta

import pytest

MONTHLY = "0 0 1 * *"


@pytest.fixture
def timetable():
    from open_images.timetable import FromNowTimetable

    return FromNowTimetable(MONTHLY, timezone="UTC")


@pytest.fixture
def at(monkeypatch):
    """Set the time at which the timetable is asked."""

    def at_(moment):
        for module in ("airflow.timetables.interval", "open_images.timetable"):
            monkeypatch.setattr(f"{module}.utcnow", lambda: moment)

    return at_


def day(year, month, number=1, **time):
    return datetime.datetime(year, month, number, tzinfo=datetime.UTC) + timedelta(**time)


def next_run(timetable, last=None, catchup=False, latest=None, earliest=None):
    """Return the interval and the time of the next run, or None."""
    from airflow.timetables.base import DataInterval, TimeRestriction

    info = timetable.next_dagrun_info(
        last_automated_data_interval=last and DataInterval(*last),
        restriction=TimeRestriction(earliest or day(2016, 1), latest, catchup),
    )
    return info and (info.data_interval.start, info.data_interval.end, info.run_after)


def test_the_first_run_is_that_of_the_interval_in_which_the_dag_is_unpaused(timetable, at):
    at(day(2026, 11, 29))
    assert next_run(timetable) == (day(2026, 11), day(2026, 12), day(2026, 12))


def test_a_run_that_was_due_a_moment_ago_is_not_lost(timetable, at):
    at(day(2026, 12, minutes=59))
    assert next_run(timetable) == (day(2026, 11), day(2026, 12), day(2026, 12))
    at(day(2026, 12, minutes=61))
    assert next_run(timetable) == (day(2026, 12), day(2027, 1), day(2027, 1))


def test_after_the_first_run_every_month_gets_one(timetable, at):
    at(day(2027, 1, 15))
    assert next_run(timetable, last=(day(2026, 11), day(2026, 12))) == (day(2026, 12), day(2027, 1), day(2027, 1))
    assert next_run(timetable, last=(day(2026, 12), day(2027, 1))) == (day(2027, 1), day(2027, 2), day(2027, 2))


def test_a_backfill_begins_where_it_is_told(timetable, at):
    at(day(2026, 11, 29))
    found = next_run(timetable, catchup=True, earliest=day(2020, 1))
    assert found == (day(2020, 1), day(2020, 2), day(2020, 2))


def test_no_run_comes_after_the_dags_end(timetable, at):
    at(day(2026, 11, 29))
    assert next_run(timetable, latest=day(2026, 10, 15)) is None


def test_it_keeps_its_class_beside_an_asset_in_airflows_database(timetable, at, monkeypatch):
    from airflow import plugins_manager
    from airflow.sdk import AssetOrTimeSchedule
    from airflow.serialization.decoders import decode_timetable
    from airflow.serialization.encoders import encode_timetable

    from open_images.assets import LANDING
    from open_images_plugin import OpenImagesPlugin

    registered = {f"{each.__module__}.{each.__qualname__}": each for each in OpenImagesPlugin.timetables}
    monkeypatch.setattr(plugins_manager, "get_timetables_plugins", lambda: registered)
    kept = decode_timetable(encode_timetable(AssetOrTimeSchedule(timetable=timetable, assets=[LANDING])))
    at(day(2026, 11, 29))
    assert next_run(kept) == next_run(timetable)


@pytest.mark.parametrize(("cron", "name"), [(MONTHLY, "monthly"), ("@weekly", "weekly"), ("30 4 * * 1", "30 4 * * 1")])
def test_a_schedule_has_a_name(cron, name):
    from open_images.timetable import schedule_name

    assert schedule_name(cron) == name
