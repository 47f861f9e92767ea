"""What MLflow has not taken yet, and is offered again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)
RETRY_SECONDS = 300.0  # while MLflow is away, each try may take a minute


class Pending:
    """Records things in MLflow, and keeps what it does not take for the next try: a training is worth more."""

    def __init__(self) -> None:
        self._calls: dict[str, Callable[[], None]] = {}
        self._next_try = 0.0

    @property
    def names(self) -> list[str]:
        """What is not recorded yet."""
        return list(self._calls)

    def send(self, what: str, call: Callable[[], None]) -> None:
        """Record something, after all that could not be recorded before; not at once while MLflow is away."""
        self.add(what, call)
        if time.monotonic() >= self._next_try:
            self.flush()

    def add(self, what: str, call: Callable[[], None]) -> None:
        """Leave something to be recorded by the next `flush`, instead of an earlier thing of that name."""
        self._calls[what] = call

    def flush(self) -> None:
        """Try everything, in order."""
        for what in list(self._calls):
            try:
                self._calls[what]()
            except Exception as error:  # whatever it is, it is no reason to lose a training
                self._next_try = time.monotonic() + RETRY_SECONDS
                log.warning("MLflow did not take %s, which is tried again: %s", what, str(error).strip()[:300])
            else:
                del self._calls[what]
