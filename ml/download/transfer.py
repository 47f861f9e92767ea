"""Fetch photographs: many at once, each whole and decoded before it counts, none that is there already."""

from __future__ import annotations

import asyncio
import base64
import binascii
import errno
import hashlib
import logging
import urllib.parse
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from ml import storage
from ml.config.download import DownloadConfig
from ml.download.attempts import Patience
from ml.download.faults import LASTING, FetchError, Reason
from ml.download.progress import Progress
from ml.download.sources import Host, HttpHost, open_host, open_public_session, open_session
from ml.errors import ResourceError
from ml.photographs.source import photograph_name
from ml.vision.images import REDUCTIONS, UnreadableImageError, read_header

log = logging.getLogger(__name__)
AHEAD = 2  # photographs under way for each connection: being fetched, being decoded, or waiting to be tried again
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Wanted:
    """A photograph to fetch.

    Attributes:
        subset: The official subset.
        image_id: The image id.
        url: Address of the original; empty if unknown.
        md5: MD5 of the original in base64, as the image list states it; empty if unknown.
    """

    subset: str
    image_id: str
    url: str = ""
    md5: str = ""


@dataclass(frozen=True)
class Failure:
    """A photograph that could not be fetched.

    Attributes:
        subset: The official subset.
        image_id: The image id.
        reason: Why the last place that was asked did not give it.
        lasting: Every place that was asked would give the same answer on another day.
        detail: What each place said.
    """

    subset: str
    image_id: str
    reason: Reason
    lasting: bool
    detail: str


@dataclass
class Outcome:
    """What became of the photographs.

    Attributes:
        fetched: Number of photographs fetched.
        bytes: Their size.
        originals: How many of them came from their original address.
        retries: Number of requests that were repeated.
        failures: The photographs that could not be fetched.
        stopped: More failed than allowed, so that the rest was not tried.
    """

    fetched: int = 0
    bytes: int = 0
    originals: int = 0
    retries: int = 0
    failures: list[Failure] = field(default_factory=list)
    stopped: bool = False

    @property
    def reasons(self) -> dict[str, int]:
        """Number of failures by reason, the most frequent first."""
        return dict(Counter(failure.reason.value for failure in self.failures).most_common())


def fetch_photographs(
    wanted: Sequence[Wanted], folder: str | None, config: DownloadConfig, progress: Progress, allowed: int
) -> Outcome:
    """Fetch photographs into a folder, or only measure how long that takes.

    Args:
        wanted: The photographs; none of them is in the folder.
        folder: URI of the folder that holds the subsets; None: check the photographs but keep nothing.
        config: Hosts and limits.
        progress: Shows how far the transfer is.
        allowed: Stop when more photographs than this have failed.

    Raises:
        ResourceError: The disk is full.
    """
    return asyncio.run(_fetch(wanted, folder, config, progress, allowed))


async def _fetch(
    wanted: Sequence[Wanted], folder: str | None, config: DownloadConfig, progress: Progress, allowed: int
) -> Outcome:
    # Decoding and writing leave the interpreter to others, so that threads are enough.
    with ThreadPoolExecutor() as pool:
        async with _open_transfer(folder, config, progress, allowed, pool) as transfer:
            await transfer.run(wanted)
            return transfer.finish()


@asynccontextmanager
async def _open_transfer(
    folder: str | None, config: DownloadConfig, progress: Progress, allowed: int, pool: ThreadPoolExecutor
) -> AsyncIterator[_Transfer]:
    async with (
        open_session() as session,
        open_host(config.photographs_url, session, config.timeout_seconds, config.connections) as host,
        open_public_session(config.photographs_url) as public,
    ):
        originals = HttpHost("the original address", "", public, config.timeout_seconds)
        yield _Transfer(folder, config, progress, allowed, pool, host, originals if config.originals else None)


class _Transfer:
    """One transfer of photographs."""

    def __init__(
        self,
        folder: str | None,
        config: DownloadConfig,
        progress: Progress,
        allowed: int,
        pool: ThreadPoolExecutor,
        host: Host,
        originals: Host | None,
    ) -> None:
        self.folder, self.config, self.progress, self.allowed = folder, config, progress, allowed
        self.pool, self.host, self.originals = pool, host, originals
        self.slots = asyncio.Semaphore(config.connections)
        self.patience: dict[str, Patience] = {}
        self.outcome = Outcome()

    async def run(self, wanted: Iterable[Wanted]) -> None:
        """Fetch the photographs."""
        queue = iter(wanted)
        workers = [asyncio.create_task(self._work(queue)) for _ in range(AHEAD * self.config.connections)]
        try:
            await asyncio.gather(*workers)
        finally:  # if one has failed, the others end before the session does
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    def finish(self) -> Outcome:
        """Return what became of the photographs."""
        self.outcome.retries = sum(patience.retries for patience in self.patience.values())
        self.outcome.failures.sort(key=lambda failure: (failure.subset, failure.image_id))
        return self.outcome

    async def _work(self, queue: Iterator[Wanted]) -> None:
        for photograph in queue:
            if len(self.outcome.failures) > self.allowed:
                self.outcome.stopped = True
                return
            await self._fetch_one(photograph)

    async def _fetch_one(self, photograph: Wanted) -> None:
        """Fetch a photograph from the host, or else from its original address, and count what became of it."""
        errors: list[tuple[str, FetchError]] = []
        for host, path, md5 in self._places(photograph):
            if errors and errors[-1][1].reason not in LASTING:
                break

            async def request(host: Host = host, path: str = path) -> bytes:
                return await host.get(path)

            async def accept(data: bytes, md5: str = md5) -> int:
                await asyncio.get_running_loop().run_in_executor(self.pool, self._keep, photograph, data, md5)
                return len(data)

            try:
                size = await self._patience_with(host, path).ask(request, accept)
            except FetchError as error:
                errors.append((host.name, error))
                continue
            self.outcome.fetched += 1
            self.outcome.bytes += size
            self.outcome.originals += host is self.originals
            self.progress.advance(1, size)
            return
        self._count_failure(photograph, errors)

    def _places(self, photograph: Wanted) -> Iterator[tuple[Host, str, str]]:
        yield self.host, photograph_name(photograph.subset, photograph.image_id), ""
        if self.originals and photograph.url:
            yield self.originals, photograph.url, photograph.md5

    def _patience_with(self, host: Host, path: str) -> Patience:
        """Return how a host is asked; the originals lie on many hosts."""
        name = urllib.parse.urlsplit(path).netloc if host is self.originals else host.name
        if name not in self.patience:
            self.patience[name] = Patience(name, self.config, self.slots)
        return self.patience[name]

    def _count_failure(self, photograph: Wanted, errors: Sequence[tuple[str, FetchError]]) -> None:
        failure = Failure(
            subset=photograph.subset,
            image_id=photograph.image_id,
            reason=errors[-1][1].reason,
            lasting=all(error.reason in LASTING for _, error in errors),
            detail="; ".join(f"{name}: {error.detail}" for name, error in errors),
        )
        log.debug("%s/%s: %s", failure.subset, failure.image_id, failure.detail)
        self.outcome.failures.append(failure)
        self.progress.advance(1, 0)

    def _keep(self, photograph: Wanted, data: bytes, md5: str) -> None:
        """Check a photograph and write it, in a thread."""
        check_whole(data)
        if md5 and not _has_md5(data, md5):
            raise FetchError(Reason.CHANGED, "its MD5 is not the one that the image list states")
        if self.folder is None:
            return
        uri = storage.join(self.folder, photograph_name(photograph.subset, photograph.image_id))
        try:
            storage.write_bytes(uri, data, durable=False)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise ResourceError(
                    f"The disk of {self.folder} is full.", "Free some space and start again."
                ) from error
            raise


def check_whole(data: bytes) -> None:
    """Check that a photograph can be decoded to its end.

    Raises:
        FetchError: It cannot.
    """
    try:
        # A reduced JPEG takes half the time. All of its data are read nonetheless; only fewer pixels are computed.
        read_header(data).decode(REDUCTIONS[0])
    except UnreadableImageError as error:
        start = "a JPEG" if data.startswith(b"\xff\xd8") else f"which begin with {data[:20]!r}"
        raise FetchError(Reason.UNREADABLE, f"{len(data):,} bytes, {start}: {error}") from error


def _has_md5(data: bytes, stated: str) -> bool:
    try:
        digest = base64.b64decode(stated, validate=True)
    except binascii.Error:
        return True  # the image list states none that could be compared
    return len(digest) != 16 or hashlib.md5(data, usedforsecurity=False).digest() == digest
