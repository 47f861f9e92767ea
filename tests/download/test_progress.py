"""How far a download is, in words."""

import pytest

from ml.download import progress


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_tells_items_bytes_rates_and_the_time_left(clock):
    lines = progress.LogProgress("photographs", 200)
    clock[0] += 10
    lines.advance(50, 25_000_000)
    assert lines.line() == "50 of 200 photographs (25%), 25.0 MB, 5.0/s, 2.5 MB/s, 0:00:30 left"


def test_by_bytes_where_their_number_is_known(clock):
    lines = progress.LogProgress("annotation files", 10, 400_000_000)
    clock[0] += 7200
    lines.advance(1, 100_000_000)
    assert lines.line() == "1 of 10 annotation files (25%), 100.0 MB, 0.0/s, 0.0 MB/s, 6:00:00 left"


def test_the_log_gets_a_line_from_time_to_time_and_one_at_the_end(clock, caplog):
    caplog.set_level("INFO", logger="ml.download.progress")
    with progress.show_progress("photographs", 100) as lines:
        for _ in range(100):
            clock[0] += 1
            lines.advance(1, 1000)
    assert len(caplog.messages) == 100 // int(progress.SECONDS) + 1
    assert caplog.messages[-1].startswith("100 of 100 photographs (100%), 0.1 MB")


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True)
    with progress.show_progress("photographs", 2) as bar:
        bar.advance(2, 3_000_000)
    shown = capsys.readouterr().err
    assert "photographs" in shown
    assert "2/2" in shown
    assert "3.0 MB" in shown
