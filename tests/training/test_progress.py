"""The progress of a training: what the file holds, how often it is written, and that it stops no training."""

import logging
from types import SimpleNamespace

import pytest

from ml import storage
from ml.model.record import TrainingProgress, time_left
from ml.training import progress
from support.training import make_epoch


@pytest.fixture
def clock(monkeypatch):
    """The seconds that the module believes to have passed."""
    times = [100.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: times[0]))
    return times


def at(step: int, epochs_done: int = 0) -> TrainingProgress:
    history = [make_epoch(number) for number in range(1, epochs_done + 1)]
    return TrainingProgress(
        epochs=30, history=history, step=step, steps=10, images_per_second=250.0, seconds_left=200.0
    )


def test_the_file_is_written_after_each_epoch_and_every_ten_seconds_between(tmp_path, clock):
    uri = storage.normalize(tmp_path / "run" / "progress.json")
    write = progress.ProgressFile(uri)

    def written() -> tuple[int, int]:
        found = TrainingProgress.model_validate(storage.read_json(uri))
        return len(found.history), found.step

    write(at(0))
    assert written() == (0, 0)
    clock[0] += 9
    write(at(4))
    assert written() == (0, 0)
    clock[0] += 2
    write(at(5))
    assert written() == (0, 5)
    write(at(0, epochs_done=1))
    assert written() == (1, 0)


def test_a_file_that_cannot_be_written_stops_nothing(tmp_path, clock, caplog):
    (tmp_path / "file").write_text("not a folder")
    with caplog.at_level(logging.WARNING):
        progress.ProgressFile(storage.normalize(tmp_path / "file" / "progress.json"))(at(0))
    assert "Cannot write the progress to" in caplog.text


def test_a_line_says_speed_time_left_and_the_newest_score():
    assert TrainingProgress(epochs=30).summary == "preparing the first step"
    assert at(4).summary == "250 images/s, about 3 min left"
    line = at(0, epochs_done=2)
    assert (line.epoch, line.summary) == (
        3,
        f"250 images/s, about 3 min left, validation accuracy {line.history[-1].val_accuracy:.3f}",
    )
    assert at(0, epochs_done=30).epoch == 30


def test_a_training_that_stopped_early_says_that_its_epochs_have_ended():
    stopped = at(0, epochs_done=7).model_copy(update={"ended": True})
    assert stopped.epoch == 7
    assert stopped.summary.startswith("the model is being calibrated and written, validation accuracy")


@pytest.mark.parametrize(("seconds", "text"), [(12, "12 s"), (300, "5 min"), (5 * 3600, "5.0 h")])
def test_the_time_left_has_its_largest_unit(seconds, text):
    assert time_left(seconds) == f"about {text} left"


def test_without_a_terminal_the_log_is_enough(capsys):
    with progress.terminal_progress() as show:
        show(at(3))
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_a_bar_shows_the_epoch_and_log_lines_stay_above_it(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with progress.terminal_progress() as show:
        show(at(5, epochs_done=2))
    assert "epoch 3 of 30" in capsys.readouterr().err
