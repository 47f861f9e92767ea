"""Why a file could not be fetched, and whether trying again may help."""

from __future__ import annotations

import email.utils
import enum
import time


class Reason(enum.StrEnum):
    """Why a file could not be fetched. The value is its name in lists of failures, in metrics and in messages."""

    ABSENT = "not found"
    REFUSED = "refused"
    CHANGED = "not the listed photograph"
    UNREADABLE = "not a whole image"
    THROTTLED = "too many requests"
    SERVER = "server error"
    TIMEOUT = "timed out"
    CONNECTION = "connection lost"


# The host answers, and would give the same answer on another day; another host may do better.
LASTING = frozenset({Reason.ABSENT, Reason.REFUSED, Reason.CHANGED, Reason.UNREADABLE})


def retries_for(reason: Reason, most: int) -> int:
    """Return how often to try again after a failure: at most once after a lasting one, if it may yet be an accident."""
    if reason is Reason.UNREADABLE:
        return min(1, most)
    return 0 if reason in LASTING else most


class FetchError(Exception):
    """A file could not be fetched.

    Args:
        reason: Why.
        detail: What the server said, or what is wrong with the file.
        wait: The seconds that the server asked to wait before the next request, if it did.
    """

    def __init__(self, reason: Reason, detail: str, wait: float | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.wait = wait


def of_status(status: int, text: str, retry_after: str | None = None) -> FetchError:
    """Return the error for an HTTP status that is not a success.

    Args:
        status: The status, 300 or more.
        text: What the server said, in a few words.
        retry_after: The header `Retry-After`.
    """
    detail = f"HTTP {status} {text}".rstrip()
    if status in (404, 410):
        return FetchError(Reason.ABSENT, detail)
    if status in (429, 503) and retry_after:
        return FetchError(Reason.THROTTLED, detail, seconds_to_wait(retry_after))
    if status == 429:
        return FetchError(Reason.THROTTLED, detail)
    if status in (408, 425):
        return FetchError(Reason.TIMEOUT, detail)
    return FetchError(Reason.SERVER if status >= 500 else Reason.REFUSED, detail)


def seconds_to_wait(retry_after: str) -> float | None:
    """Return the seconds in a `Retry-After` header, which holds a number or a date; None if it holds neither."""
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None
