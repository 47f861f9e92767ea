"""Show how far a training has come: in a file that the report tab of Airflow reads, and on a terminal."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from ml import storage
from ml.model.record import TrainingProgress

log = logging.getLogger(__name__)
WRITE_SECONDS = 10.0  # writing a file takes half a second on HDFS
Report = Callable[[TrainingProgress], None]


def report_nothing(progress: TrainingProgress) -> None:
    """Take no notice of the progress."""


class ProgressFile:
    """Writes the progress into a file, whole each time, after each epoch and every `WRITE_SECONDS` in between.

    A training does not fail because this file cannot be written.

    Args:
        uri: The file.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._next = 0.0

    def __call__(self, progress: TrainingProgress) -> None:
        """Write the progress when it is due."""
        now = time.monotonic()
        if progress.step and now < self._next:
            return
        self._next = now + WRITE_SECONDS
        try:
            storage.write_json(self._uri, progress.json_values())
        except Exception as error:  # object stores' libraries raise other errors than OSError
            log.warning("Cannot write the progress to %s: %s", self._uri, error)


@contextlib.contextmanager
def terminal_progress() -> Iterator[Report]:
    """Show a bar under the log while a training runs, if standard error is a terminal; the log alone is enough else."""
    if not sys.stderr.isatty():
        yield report_nothing
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar, _log_above():
        task = bar.add_task("training", total=None, text="starting")
        yield lambda progress: bar.update(
            task,
            description=f"epoch {progress.epoch} of {progress.epochs}",
            total=progress.epochs * max(progress.steps, 1),
            completed=len(progress.history) * progress.steps + progress.step,
            text=progress.summary,
        )


@contextlib.contextmanager
def _log_above() -> Iterator[None]:
    """Let log handlers write to what the bar made of standard error, so that lines do not run into it."""
    handlers = [each for each in logging.getLogger().handlers if isinstance(each, logging.StreamHandler)]
    before = [(handler, handler.setStream(sys.stderr)) for handler in handlers if handler.stream is sys.__stderr__]
    try:
        yield
    finally:
        for handler, stream in before:
            if stream is not None:
                handler.setStream(stream)
