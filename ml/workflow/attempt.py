"""Attempts: their names, the claim of the job that writes one, and the commit that makes one readable."""

from __future__ import annotations

import datetime
import uuid

from ml import storage
from ml.errors import TransientError

# Both are hidden from `storage.list_files` and from Spark. What they are for stands in `ml.retention.remove`.
CLAIM = "_job.json"  # who writes an attempt, written first
REMOVAL = "_removing.json"  # that an attempt is being removed


def new_attempt() -> str:
    """A name for an attempt: sorts by time, never met twice."""
    return f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"


def check_claim(uri: str) -> None:
    """Take back a commit where maintenance took the attempt for one that nobody writes any more.

    Raises:
        TransientError: Files of the attempt may be gone.
    """
    if not storage.exists(storage.join(uri, CLAIM)):
        storage.remove(storage.join(uri, "manifest.json"))
        raise TransientError(
            f"Maintenance removed files of {uri} while it was being written.",
            "A retry does the work again; maintenance needs a larger grace_hours.",
        )


def stays(attempt_uri: str) -> bool:
    """Whether an attempt is committed and nobody is removing it: asked right after a pin is written, in this order."""
    return not storage.exists(storage.join(attempt_uri, REMOVAL)) and storage.exists(
        storage.join(attempt_uri, "manifest.json")
    )
