"""Deliveries: the dated folders of a landing, the digests by which each is known, and which of them a run sees.

A landing holds folders named `<YYYY-MM-DD>`, each a release in the official layout with some of the rows and
photographs, and a `delivery.json` that is written last: a folder without it is not there yet. What a delivery holds
never changes afterwards; a correction is a later delivery, which replaces, table by table, all rows of an image that
it holds again, and its photograph. A plain release folder counts as a landing with one delivery, without a date.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Collection, Sequence
from typing import Any

from ml import storage
from ml.errors import DataError, NothingNewError
from ml.release.delivery import UNDATED, DeliveryCache, identify
from ml.release.layout import CLASSES
from ml.release.note import NOTE, count, is_date, read_note
from ml.release.release import Release, check_columns, find_release


def is_landing(uri: str) -> bool:
    """Whether a folder holds dated folders and no release of its own, or nothing yet."""
    if any(storage.exists(storage.join(uri, place)) for place in CLASSES):
        return False
    fs, path = storage.filesystem(uri)
    return bool(dated_folders(uri)) or not fs.ls(path, detail=False)


def dated_folders(landing: str) -> list[str]:
    """The names of all folders of a landing that are dates, oldest first, whether their delivery is there or not."""
    fs, path = storage.filesystem(landing)
    names = (str(name).rstrip("/").rpartition("/")[2] for name in fs.ls(path, detail=False))
    return sorted(name for name in names if is_date(name))


def arrived(landing: str) -> list[str]:
    """The names of the deliveries of a landing that are there whole, oldest first."""
    return [name for name in dated_folders(landing) if storage.exists(storage.join(landing, name, NOTE))]


def midnight(date: datetime.date) -> datetime.datetime:
    """The moment at which a day begins, UTC: a delivery of that day is seen from any later moment."""
    return datetime.datetime.combine(date, datetime.time(), datetime.UTC)


def visible(names: Sequence[str], as_of: datetime.datetime, since: datetime.datetime | None = None) -> list[str]:
    """The dated deliveries from `since` on and before `as_of`."""
    moments = {name: midnight(datetime.date.fromisoformat(name)) for name in names}
    return [name for name, moment in moments.items() if moment < as_of and (since is None or since <= moment)]


def find_deliveries(
    uri: str, photographs: str | None, as_of: datetime.datetime, since: datetime.datetime | None = None
) -> dict[str, Release]:
    """Find the deliveries that a run sees, with their files, by name, oldest first.

    Args:
        uri: A landing, or a plain release folder.
        photographs: Where the photographs of all deliveries lie, if not in their folders.
        as_of: Only deliveries dated before this moment are seen; a plain release always is.
        since: At least one of a landing's must be dated from this moment on.

    Raises:
        DataError: There is no release, or it lacks a file or a column; or the landing has no delivery dated before.
        NothingNewError: None is dated from `since` on.
    """
    uri = storage.normalize(uri)
    if not storage.exists(uri):
        raise DataError(f"There is no release at {uri}.", "Correct the parameter `release`.")
    if is_landing(uri):
        names = arrived(uri)
        if since is not None and not visible(names, as_of, since):
            raise NothingNewError(
                f"No delivery in {uri} is dated from {since:%Y-%m-%d %H:%M} to before {as_of:%Y-%m-%d %H:%M} UTC "
                f"({_told(names)}).",
                "Set retrain_without_news to train all the same.",
            )
        seen = visible(names, as_of)
        if not seen:
            raise DataError(
                f"The landing {uri} holds no delivery dated before {as_of:%Y-%m-%d %H:%M} UTC ({_told(names)}).",
                f"A delivery is a folder <YYYY-MM-DD> with a {NOTE}, which is written last.",
            )
        for name in seen:
            read_note(uri, name)
        found = {name: find_release(storage.join(uri, name), photographs) for name in seen}
    else:
        found = {UNDATED: find_release(uri, photographs)}
    for release in found.values():
        check_columns(release)
    return found


def _told(names: Sequence[str]) -> str:
    return f"deliveries: {', '.join(names[-5:])}" if names else "it holds no whole delivery"


def news(landing: str, announced: Collection[tuple[str, str]], now: datetime.datetime) -> list[str]:
    """The deliveries of a landing that are there whole and were not announced as they are now, oldest first.

    One that is dated later than now, as where the day has begun in Tokyo and not in UTC, has to wait: a run that it
    started would not see it.

    Args:
        landing: The landing; a plain release folder has no news.
        announced: Name and note's digest of each delivery that was announced before.
        now: The moment, with its time zone.

    Raises:
        DataError: There is no such folder.
    """
    uri = storage.normalize(landing)
    if not storage.exists(uri):
        raise DataError(f"There is no landing at {uri}.", "Correct `release` in the deployment's file.")
    if not is_landing(uri):
        return []
    return [name for name in visible(arrived(uri), now) if (name, note_digest(uri, name)) not in announced]


def note_digest(landing: str, name: str) -> str:
    """A digest of a delivery's note, by which it is known whether it was announced."""
    return hashlib.sha256(storage.read_bytes(storage.join(landing, name, NOTE))).hexdigest()


def announcement(landing: str, name: str, photographs: str | None, cache: DeliveryCache) -> dict[str, Any]:
    """What the landing's event says of a delivery: date, digests, and counts of rows and photographs.

    Raises:
        DataError: The delivery is not as it must be.
    """
    uri = storage.normalize(landing)
    note = read_note(uri, name)
    release = find_release(storage.join(uri, name), photographs)
    check_columns(release)
    delivery, counted = identify(name, release, cache), count(name, release)
    for file, stated in note.rows.items():
        if counted.rows.get(file) != stated:
            raise DataError(
                f"The delivery {release.uri} states {stated:,} rows of {file} in its {NOTE}, and holds "
                f"{counted.rows.get(file, 0):,}.",
                f"Bring the file whole, or write its {NOTE} anew.",
            )
    return {
        "date": name,
        "delivery": delivery.uri,
        "digest": note_digest(uri, name),
        "tables": delivery.tables,
        "photographs": delivery.photographs,
        "counts": {"rows": counted.rows, "photographs": counted.photographs},
    }
