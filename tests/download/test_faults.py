"""What an answer means: which reason it is counted under, and how long it asks to wait."""

import email.utils
import time

import pytest

from ml.download.faults import Reason, of_status, retries_for, seconds_to_wait


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, Reason.ABSENT),
        (410, Reason.ABSENT),
        (403, Reason.REFUSED),
        (416, Reason.REFUSED),
        (408, Reason.TIMEOUT),
        (429, Reason.THROTTLED),
        (500, Reason.SERVER),
        (503, Reason.SERVER),
    ],
)
def test_each_status_has_a_reason(status, reason):
    error = of_status(status, "words")
    assert (error.reason, error.detail, error.wait) == (reason, f"HTTP {status} words", None)


def test_an_overloaded_server_may_say_how_long_to_wait():
    assert of_status(503, "", "7").wait == 7
    assert of_status(503, "", "7").reason is Reason.THROTTLED
    assert of_status(404, "", "7").wait is None


def test_the_wait_is_a_number_or_a_date():
    assert seconds_to_wait("120") == 120
    later = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert 50 < seconds_to_wait(later) <= 60
    assert seconds_to_wait("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert seconds_to_wait("soon") is None


def test_what_a_host_lacks_is_asked_for_once_and_a_damaged_file_twice():
    assert [retries_for(reason, 5) for reason in (Reason.ABSENT, Reason.UNREADABLE, Reason.SERVER)] == [0, 1, 5]
    assert retries_for(Reason.UNREADABLE, 0) == 0
