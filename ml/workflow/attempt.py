"""Attempts: their names, the claim of the job that writes one, and the commit that makes one readable."""

from __future__ import annotations

import datetime
import uuid

from ml import storage
from ml.errors import TransientError
from ml.workflow import layout


def new_attempt() -> str:
    """A name for an attempt: sorts by time, never met twice."""
    return f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"


def check_claim(uri: str) -> None:
    """Take back a commit where maintenance took the attempt for one that nobody writes any more.

    Raises:
        TransientError: Files of the attempt may be gone.
    """
    if not storage.exists(layout.claim_uri(uri)):
        storage.remove(layout.manifest_uri(uri))
        raise TransientError(
            f"Maintenance removed files of {uri} while it was being written.",
            "A retry does the work again; maintenance needs a larger grace_hours.",
        )


def is_committed(attempt_uri: str) -> bool:
    """Tell whether an attempt is committed and not being removed: asked right after a pin is written, in this order."""
    return not storage.exists(layout.removal_uri(attempt_uri)) and storage.exists(layout.manifest_uri(attempt_uri))
