"""Attempts: how they are named, claimed by the job that writes them, and known to be committed."""

from __future__ import annotations

import datetime
import uuid

from ml import storage
from ml.errors import TransientError
from ml.workflow import layout


def new_attempt() -> str:
    """Return a new, unique name for an attempt. Names sort by time."""
    return f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"


def check_claim(uri: str) -> None:
    """Check that a clean-up has not taken the attempt's claim, and withdraw the commit if it has.

    Raises:
        TransientError: The claim was removed, so files of the attempt may be missing.
    """
    if not storage.exists(layout.claim_uri(uri)):
        storage.remove(layout.manifest_uri(uri))
        raise TransientError(
            f"A clean-up removed files of {uri} while a job was writing it.",
            "A retry does the work again. Set a larger grace_hours for the clean-up.",
        )


def is_committed(attempt_uri: str) -> bool:
    """Return whether an attempt is committed and not being removed.

    The order of the two checks matters when this is called right after a pin is written: see `ml.retention.remove`.
    """
    return not storage.exists(layout.removal_uri(attempt_uri)) and storage.exists(layout.manifest_uri(attempt_uri))
