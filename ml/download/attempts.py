"""Ask a host for files: a bound on connections, back-off with jitter, and the pauses that the host asks for."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from ml.config.download import DownloadConfig
from ml.download.faults import FetchError, Reason, retries_for

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass
class Patience:
    """The way in which one host is asked. All requests to it wait while it asks for a pause.

    Attributes:
        host: The host's name in messages.
        config: How often and how long to wait.
        slots: The bound on connections, which several hosts may share. Nobody waits with a slot in hand.
        retries: Number of retries so far.
    """

    host: str
    config: DownloadConfig
    slots: asyncio.Semaphore
    retries: int = 0
    _paused_until: float = field(default=0.0, repr=False)

    async def ask(self, request: Callable[[], Awaitable[bytes]], accept: Callable[[bytes], Awaitable[T]]) -> T:
        """Make a request, again and again if that may help, and return what became of its answer.

        Args:
            request: Makes the request.
            accept: Judges and uses the answer, without a connection in hand.

        Raises:
            FetchError: The last try failed, or the host asks to wait longer than allowed.
        """
        tries = 0
        while True:
            try:
                async with self._turn():
                    answer = await request()
                return await accept(answer)
            except FetchError as error:
                self._note_pause(error)
                if tries >= retries_for(error.reason, self.config.retries):
                    raise
            tries += 1
            self.retries += 1
            await asyncio.sleep(self.backoff(tries))

    def backoff(self, tries: int) -> float:
        """Return a random wait up to a limit that doubles with each try, so that clients do not come all at once."""
        return random.uniform(0, min(self.config.backoff_seconds * 2 ** (tries - 1), self.config.max_wait_seconds))

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait for a slot at a time when the host has not asked for a pause."""
        while True:
            while (left := self._paused_until - time.monotonic()) > 0:
                if left > self.config.max_wait_seconds:
                    raise FetchError(Reason.THROTTLED, f"the server asks to wait for {left:.0f} seconds")
                await asyncio.sleep(left + self.backoff(1))
            async with self.slots:
                if self._paused_until > time.monotonic():
                    continue
                yield
                return

    def _note_pause(self, error: FetchError) -> None:
        if error.wait is None or (until := time.monotonic() + error.wait) <= self._paused_until:
            return
        if error.wait > self.config.max_wait_seconds:
            log.warning(
                "%s asks to wait for %.0f seconds, more than max_wait_seconds = %g; it gets no more requests.",
                *(self.host, error.wait, self.config.max_wait_seconds),
            )
        self._paused_until = until
