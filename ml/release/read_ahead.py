"""Read files ahead of their use, so that the processor does not wait for disk or network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

THREADS = 4
BYTES_AHEAD = 32 << 20  # of content that waits for its use


def read_ahead(
    items: Iterable[T], read: Callable[[T], bytes], threads: int = THREADS, bytes_ahead: int = BYTES_AHEAD
) -> Iterator[tuple[T, Callable[[], bytes]]]:
    """Read the files of items in threads while earlier ones are used.

    Args:
        items: The items, in the order of their use.
        read: Reads the file of an item.
        threads: Number of files that are read at the same time.
        bytes_ahead: No further file is read while more bytes than this wait for their use.

    Yields:
        Each item, with a function that returns its content or raises the error of reading it.
    """
    waiting: deque[tuple[T, Future[bytes]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="read-ahead") as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(read, item)))
                while len(waiting) > threads and (len(waiting) > 4 * threads or _size(waiting) > bytes_ahead):
                    first, content = waiting.popleft()
                    yield first, content.result
            while waiting:
                first, content = waiting.popleft()
                yield first, content.result
        finally:
            for _, content in waiting:
                content.cancel()


def _size(waiting: Iterable[tuple[object, Future[bytes]]]) -> int:
    """Return the bytes that have been read and wait."""
    done = (content for _, content in waiting if content.done() and not content.cancelled())
    return sum(len(content.result()) for content in done if content.exception() is None)
