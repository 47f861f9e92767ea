"""The lease under a key: one job does the key's work, and the others wait and find it done.

A job creates the file `lease-<number>.json` under the key before it works, writes it again every few seconds while it
lives, and removes it when it commits or fails. The newest lease, the one with the highest number, counts. A job that
finds its holder gone creates the lease with the next number, which only one of several jobs can do.

A holder is gone if its process ran on this host and has ended, or if the file has not changed for `EXPIRY_SECONDS` of
the waiting job's own monotonic clock. No clocks of two machines are ever compared.

A lease saves work; it protects nothing. Each job writes its own attempt and commits it as if there were no lease, so
two jobs that work at once are only slower: because a holder was paused and overtaken, or because a store lost a lease
or cannot create a file conditionally. See docs/decisions/0014-lease.md.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ml import storage
from ml.workflow import layout
from ml.workflow.supervision import ended, identity

log = logging.getLogger(__name__)
RENEWAL_SECONDS = 10.0
EXPIRY_SECONDS = 60.0  # several renewals: a busy store may delay some
POLL_SECONDS = 1.0
REMINDER_SECONDS = 300.0  # between two lines of the log that say whom a job waits for
T = TypeVar("T")


class Holder(BaseModel):
    """The content of a lease.

    Attributes:
        run: The folder name of the run whose job holds it.
        job: The job's process, see `supervision.identity`.
        since: When the job took it, by the clock of the job's host; for people only.
        renewals: How often the job has renewed it.
    """

    model_config = ConfigDict(frozen=True)

    run: str
    job: str
    since: str
    renewals: int = 0

    @classmethod
    def of(cls, run: str) -> Holder:
        """Return this process as a holder."""
        now = datetime.datetime.now(datetime.UTC)
        return cls(run=run, job=identity(), since=now.isoformat(timespec="microseconds"))

    @property
    def content(self) -> bytes:
        """The bytes of the file."""
        return self.model_dump_json(indent=2).encode()

    def __str__(self) -> str:
        """Describe the holder in a line of the log."""
        host, _, rest = self.job.partition("|")
        return f"run {self.run} (process {rest.partition('|')[0]} on {host}, since {self.since} by that host's clock)"


class Lease(NamedTuple):
    """A lease as it was read; its holder is None while the file is being written, or if it is damaged."""

    number: int
    holder: Holder | None


def read_holder(uri: str) -> Holder | None:
    """Return the holder of a lease; None if there is no lease, or if it cannot be understood."""
    try:
        return Holder.model_validate_json(storage.read_bytes(uri))
    except (FileNotFoundError, ValidationError):
        return None


def newest(folder: str) -> Lease | None:
    """Return the newest lease in a folder, or None if nobody holds one."""
    number = max(filter(None, map(layout.lease_number, storage.list_folder(folder))), default=None)
    return Lease(number, read_holder(layout.lease_uri(folder, number))) if number else None


class Watch:
    """Tells whether the holder of a lease is gone, from what it has read of it so far."""

    def __init__(self) -> None:
        self._seen: Lease | None = None
        self._since = 0.0
        self._reminded: float | None = None

    def gone(self, lease: Lease, asked: float) -> bool:
        """Return whether the holder of the lease is gone.

        Args:
            lease: The lease as it was just read.
            asked: The monotonic time before it was read, so that a pause of this process counts for the holder.
        """
        if lease != self._seen:
            self._seen, self._since = lease, time.monotonic()
        holder = lease.holder
        return asked - self._since >= EXPIRY_SECONDS or (holder is not None and ended(holder.job))

    def remind(self, folder: str, lease: Lease) -> None:
        """Log whom the job waits for, at intervals."""
        now = time.monotonic()
        if lease.holder and (self._reminded is None or now - self._reminded >= REMINDER_SECONDS):
            self._reminded = now
            log.info("waiting for %s, which does the work of %s", lease.holder, folder)


def wait(folder: str, find: Callable[[], T | None]) -> tuple[T | None, int]:
    """Wait while another job holds the lease in a folder.

    Args:
        folder: The folder of a key.
        find: Returns the key's result, or None while there is none.

    Returns:
        The result, or None if this job should do the work; and the number of the lease that it should take then.
    """
    watch = Watch()
    while True:
        asked = time.monotonic()
        lease = newest(folder)
        if lease is None or watch.gone(lease, asked):
            return find(), (lease.number if lease else 0) + 1
        watch.remind(folder, lease)
        time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def hold(folder: str, run: str, find: Callable[[], T | None]) -> Iterator[T | None]:
    """Yield a key's result as soon as there is one, or None as soon as this job holds the key's lease.

    The job holds the lease inside the block.

    Args:
        folder: The folder of the key.
        run: The folder name of the job's run.
        find: Returns the key's result, or None while there is none.
    """
    while True:
        found, number = wait(folder, find)
        if found is not None:
            yield found
            return
        if number > 1:
            log.info("the job that did the work of %s is gone", folder)
        held = HeldLease(folder, number, Holder.of(run))
        if held.take():
            break
    try:
        yield find()  # another job may have finished between the last look and the lease
    finally:
        held.release()


class HeldLease:
    """A lease that this job takes and renews.

    A store that fails costs the job its lease, never its work.

    Args:
        folder: The folder of the key.
        number: The number of the lease.
        holder: This job.
    """

    def __init__(self, folder: str, number: int, holder: Holder) -> None:
        self.folder, self.number, self.holder = folder, number, holder
        self.uri = layout.lease_uri(folder, number)
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def take(self) -> bool:
        """Create the lease, remove older ones, and renew it from now on; return False if another job was quicker."""
        try:
            # A client tries a write again whose answer was lost, and is then refused because of its own lease.
            if not storage.create_bytes(self.uri, self.holder.content) and read_holder(self.uri) != self.holder:
                return False
            self._remove_older()
        except Exception as error:
            log.warning("working without a lease: %s cannot be written: %s", self.uri, error)
            return True
        self._thread.start()
        return True

    def renew(self) -> bool:
        """Write the lease again; return False if it is no longer this job's."""
        lease = newest(self.folder)
        if lease is None or not self._ours(lease):
            by = lease.holder if lease else "another job"
            log.warning("%s has taken over the work of %s; this job goes on too", by, self.folder)
            return False
        self.holder = self.holder.model_copy(update={"renewals": self.holder.renewals + 1})
        storage.write_bytes(self.uri, self.holder.content, durable=False)
        return True

    def release(self) -> None:
        """Stop renewing the lease, and remove it if it is still this job's."""
        self._released.set()
        if self._thread.is_alive():
            self._thread.join(EXPIRY_SECONDS)  # a renewal under way would write the file again
        try:
            lease = newest(self.folder)
            if lease and self._ours(lease):
                storage.remove(self.uri)
        except Exception as error:
            log.warning("%s was not removed, so other jobs wait a minute longer: %s", self.uri, error)

    def _ours(self, lease: Lease) -> bool:
        """Return whether a lease is this job's; an unreadable one with its number is a renewal that failed."""
        holder = lease.holder
        same = holder is None or (holder.job, holder.since) == (self.holder.job, self.holder.since)
        return lease.number == self.number and same

    def _remove_older(self) -> None:
        for name in storage.list_folder(self.folder):
            number = layout.lease_number(name)
            if number is not None and number < self.number:
                storage.remove(layout.lease_uri(self.folder, number))

    def _keep(self) -> None:
        while not self._released.wait(RENEWAL_SECONDS):
            try:
                if not self.renew():
                    return
            except Exception as error:
                log.warning("%s was not renewed: %s", self.uri, error)
