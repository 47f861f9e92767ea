"""The date of an interval's delivery, and what another delivery keeps from being picked."""

import datetime

import pytest

from ml.config.download import DownloadConfig
from ml.download.landing import date_of_interval, held_images, read_plan, write_plan
from ml.download.picking import Pick
from ml.errors import ConfigurationError
from support.landings import deliver

DATE = datetime.date(2026, 5, 31)
PICK = Pick(images={"train": ["a", "b"]}, labels={}, candidates={"train": 9})


def moment(text):
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("2026-01-01", "2026-02-01", "2026-01-31"),
        ("2026-01-01", "2026-01-02", "2026-01-01"),
        ("2026-01-05T06:00", "2026-01-12T06:00", "2026-01-12"),
        ("2026-01-05T06:00", "2026-01-06T06:00", "2026-01-06"),
        ("2026-01-05T18:00", "2026-01-06T00:01", "2026-01-06"),
    ],
)
def test_a_delivery_is_dated_the_last_day_that_begins_in_the_interval(start, end, expected):
    day = date_of_interval(moment(start), moment(end))
    assert day.isoformat() == expected
    assert moment(start) <= moment(expected) < moment(end), "so that a training of the same interval sees it"


@pytest.mark.parametrize(
    ("start", "end"), [("2026-01-01T01:00", "2026-01-01T02:00"), ("2026-01-01T12:00", "2026-01-02")]
)
def test_an_interval_in_which_no_day_begins_has_no_date(start, end):
    with pytest.raises(ConfigurationError, match="Set ingest_schedule to run once a day at most"):
        date_of_interval(moment(start), moment(end))


def test_images_of_every_other_delivery_are_held_and_those_that_an_unfinished_download_picked(tmp_path):
    deliver(tmp_path, "2026-04-30", scenes=10)
    deliver(tmp_path, "2026-07-31", scenes=10)
    write_plan(f"file://{tmp_path}/2026-06-30", DownloadConfig(), PICK)
    write_plan(f"file://{tmp_path}/{DATE}", DownloadConfig(), Pick(images={"train": ["own"]}, labels={}, candidates={}))
    (tmp_path / "2026-03-31").mkdir()  # begun by hand
    held = held_images(str(tmp_path), DATE)
    assert {"a", "b"} <= held
    assert "own" not in held
    assert len(held) == 2 + 10 + 10


def test_a_plan_is_continued_under_the_parameters_it_was_made_for(tmp_path):
    folder = f"file://{tmp_path}/{DATE}"
    assert read_plan(folder, DownloadConfig()) is None
    write_plan(folder, DownloadConfig(), PICK)
    assert read_plan(folder, DownloadConfig(connections=3, retries=0)).pick == PICK
    assert read_plan(folder, DownloadConfig(images=7)) is None
