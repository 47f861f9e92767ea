"""A queue of records that MLflow has not accepted yet."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)
RETRY_SECONDS = 300.0  # while MLflow is down, each try may take a minute


class Pending:
    """Records things in MLflow and keeps what fails for the next try, so that an error never ends a training."""

    def __init__(self) -> None:
        self._calls: dict[str, Callable[[], None]] = {}
        self._next_try = 0.0

    @property
    def names(self) -> list[str]:
        """The names of what is not recorded yet."""
        return list(self._calls)

    def send(self, what: str, call: Callable[[], None]) -> None:
        """Record something after everything that failed before; wait for the next try while MLflow is down."""
        self.add(what, call)
        if time.monotonic() >= self._next_try:
            self.flush()

    def add(self, what: str, call: Callable[[], None]) -> None:
        """Queue something for the next `flush`; it replaces an earlier entry of that name."""
        self._calls[what] = call

    def flush(self) -> None:
        """Try to record everything, in order."""
        for what in list(self._calls):
            try:
                self._calls[what]()
            except Exception as error:  # no error of MLflow may end a training
                self._next_try = time.monotonic() + RETRY_SECONDS
                log.warning("MLflow could not record %s; it will be tried again: %s", what, str(error).strip()[:300])
            else:
                del self._calls[what]
