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
        bytes_ahead: Bytes that may wait for their use, if all files are as large as the largest so far. One file for
            each thread may wait in any case.

    Yields:
        Each item, with a function that returns its content or raises the error of reading it.
    """
    waiting: deque[tuple[T, Future[bytes]]] = deque()
    largest = 0  # of the files so far

    def read_and_measure(item: T) -> bytes:
        nonlocal largest
        content = read(item)
        largest = max(largest, len(content))
        return content

    def room() -> int:
        return min(max(bytes_ahead // largest, threads), 4 * threads) if largest else threads

    with ThreadPoolExecutor(threads, thread_name_prefix="read-ahead") as pool:
        try:
            for item in items:
                while len(waiting) >= room():
                    first, content = waiting.popleft()
                    yield first, content.result
                waiting.append((item, pool.submit(read_and_measure, item)))
            while waiting:
                first, content = waiting.popleft()
                yield first, content.result
        finally:
            for _, content in waiting:
                content.cancel()
