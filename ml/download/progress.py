"""Show how far a download is: a bar on a terminal, otherwise a line in the log from time to time."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

log = logging.getLogger(__name__)
SECONDS = 15.0  # between two lines in the log


class Progress(Protocol):
    """What shows how far a download is."""

    def advance(self, items: int, size: int) -> None:
        """Count finished items, and bytes."""


class LogProgress:
    """Lines in the log, as Airflow shows them.

    Args:
        what: The items, in the plural.
        items: Number of items in all.
        size: Number of bytes in all, if known.
    """

    def __init__(self, what: str, items: int, size: int | None = None) -> None:
        self.what, self.items, self.size = what, items, size
        self.done = self.bytes = 0
        self.started = self.told = time.monotonic()

    def advance(self, items: int, size: int) -> None:
        """Count finished items, and bytes; tell the state if the last line is old enough."""
        self.done += items
        self.bytes += size
        if time.monotonic() - self.told >= SECONDS:
            self.told = time.monotonic()
            log.info("%s", self.line())

    def line(self) -> str:
        """Return the state in a line: items, bytes, rates and the time left."""
        seconds = max(time.monotonic() - self.started, 1e-9)
        share = self.bytes / self.size if self.size else self.done / max(self.items, 1)
        left = f", {readable_time(seconds * (1 - share) / share)} left" if 0 < share < 1 else ""
        rates = f"{self.done / seconds:,.1f}/s, {self.bytes / seconds / 1e6:,.1f} MB/s"
        return f"{self.done:,} of {self.items:,} {self.what} ({share:.0%}), {self.bytes / 1e6:,.1f} MB, {rates}{left}"


class BarProgress:
    """A bar on the terminal. Use `show_progress`."""

    def __init__(self, what: str, items: int, size: int | None) -> None:
        from rich import progress as bars
        from rich.console import Console

        columns = (
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.TextColumn("{task.fields[items]}"),
            bars.DownloadColumn() if size else bars.TextColumn("{task.fields[bytes]}"),
            bars.TextColumn("{task.fields[rate]}"),
            bars.TimeRemainingColumn(),
        )
        self.state = LogProgress(what, items, size)
        self.bar = bars.Progress(*columns, console=Console(stderr=True))
        self.task = self.bar.add_task(what, total=size or items, items="", bytes="", rate="")

    def advance(self, items: int, size: int) -> None:
        """Count finished items, and bytes."""
        state = self.state
        state.done += items
        state.bytes += size
        seconds = max(time.monotonic() - state.started, 1e-9)
        self.bar.update(
            self.task,
            completed=state.bytes if state.size else state.done,
            items=f"{state.done:,}/{state.items:,}",
            bytes=f"{state.bytes / 1e6:,.1f} MB",
            rate=f"{state.done / seconds:,.1f}/s, {state.bytes / seconds / 1e6:,.1f} MB/s",
        )


@contextmanager
def show_progress(what: str, items: int, size: int | None = None) -> Iterator[Progress]:
    """Show the progress of a download while the block runs.

    Args:
        what: The items, in the plural.
        items: Number of items in all.
        size: Number of bytes in all, if known; the time left is then by bytes.
    """
    if not sys.stderr.isatty():
        lines = LogProgress(what, items, size)
        yield lines
        log.info("%s", lines.line())
        return
    shown = BarProgress(what, items, size)
    with shown.bar:
        yield shown


def readable_time(seconds: float) -> str:
    """Return a number of seconds as hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
