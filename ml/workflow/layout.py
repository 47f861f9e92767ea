"""The layout of a storage root: the only module that makes or parses paths in it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ml import storage

# Told by stage, key and name alone, as the same root may be mounted elsewhere or called by another scheme.
ATTEMPT = re.compile(r"/stages/([^/]+/[^/]+)/attempts/([^/]+)/?$")
PIN = re.compile(
    r"run\.json|pins/[^./][^/]*\.json"
)  # of files in a run folder; what is being written begins with a dot


def attempt_id(uri: str) -> str | None:
    """`<stage>/<key>/attempts/<name>` of an attempt's URI, or None where it is none."""
    found = ATTEMPT.search(uri)
    return f"{found[1]}/attempts/{found[2]}" if found else None


def attempt_ids(uris: Iterable[str | None]) -> set[str]:
    return {attempt for uri in uris if uri and (attempt := attempt_id(uri))}


def current(root: str, key: str) -> str | None:
    """The name of the attempt that a key, `<stage>/<key>`, points to."""
    try:
        return str(storage.read_json(storage.join(root, "stages", key, "current.json"))["attempt"])
    except FileNotFoundError:
        return None
