"""The landing: a folder of dated deliveries, and the choice of the deliveries that a run uses.

A landing holds folders named `<YYYY-MM-DD>`. Each is a delivery: a release in the official layout with some of the rows
and photographs, and a `delivery.json` that is written last, so a folder without it is incomplete and ignored. A
complete delivery never changes. To correct it, add a later delivery: for each image in it, its photograph and, table by
table, its rows replace the earlier ones. A plain release folder counts as a landing with one undated delivery.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Collection, Sequence
from typing import Any

from ml import storage
from ml.errors import DataError, NothingNewError
from ml.photographs.source import NOTEBOOK, Columns
from ml.release.contract import check_columns
from ml.release.delivery import UNDATED, DeliveryCache, identify
from ml.release.note import NOTE, count, is_date, read_note
from ml.release.release import Release, describes_classes, find_release


def is_landing(uri: str) -> bool:
    """Return whether a folder is a landing: it holds no release of its own, and dated folders or nothing."""
    if describes_classes(uri):
        return False
    fs, path = storage.filesystem(uri)
    return bool(dated_folders(uri)) or not fs.ls(path, detail=False)


def dated_folders(landing: str) -> list[str]:
    """Return the names of a landing's dated folders, oldest first, including incomplete deliveries."""
    fs, path = storage.filesystem(landing)
    names = (str(name).rstrip("/").rpartition("/")[2] for name in fs.ls(path, detail=False))
    return sorted(name for name in names if is_date(name))


def arrived(landing: str) -> list[str]:
    """Return the names of a landing's complete deliveries, oldest first."""
    return [name for name in dated_folders(landing) if storage.exists(storage.join(landing, name, NOTE))]


def midnight(date: datetime.date) -> datetime.datetime:
    """Return the start of a day in UTC; a delivery of that day is visible at any later moment."""
    return datetime.datetime.combine(date, datetime.time(), datetime.UTC)


def visible(names: Sequence[str], as_of: datetime.datetime, since: datetime.datetime | None = None) -> list[str]:
    """Return the deliveries dated before `as_of` and, if given, at or after `since`."""
    moments = {name: midnight(datetime.date.fromisoformat(name)) for name in names}
    return [name for name, moment in moments.items() if moment < as_of and (since is None or since <= moment)]


def find_deliveries(
    uri: str,
    photographs: str | None,
    as_of: datetime.datetime,
    since: datetime.datetime | None = None,
    columns: Columns = NOTEBOOK,
) -> dict[str, Release]:
    """Find the deliveries that a run uses, with their files, by name, oldest first.

    Args:
        uri: A landing, or a plain release folder.
        photographs: Where the photographs of all deliveries are stored, if not in the deliveries' folders.
        as_of: Use only deliveries dated before this moment; a plain release is always used.
        since: At least one delivery of a landing must be dated at or after this moment.
        columns: The columns of photographs in Parquet tables.

    Raises:
        DataError: There is no release, it lacks a file or a column, or no delivery is dated before `as_of`.
        NothingNewError: No delivery is dated at or after `since`.
    """
    uri = storage.normalize(uri)
    if not storage.exists(uri):
        raise DataError(f"There is no release at {uri}.", "Correct the parameter `release`.")
    if is_landing(uri):
        names = arrived(uri)
        if since is not None and not visible(names, as_of, since):
            raise NothingNewError(
                f"No delivery in {uri} is dated from {since:%Y-%m-%d %H:%M} to before {as_of:%Y-%m-%d %H:%M} UTC "
                f"({_summary(names)}).",
                "Set retrain_without_news to train anyway.",
            )
        seen = visible(names, as_of)
        if not seen:
            raise DataError(
                f"The landing {uri} has no delivery dated before {as_of:%Y-%m-%d %H:%M} UTC ({_summary(names)}).",
                f"A delivery is a folder <YYYY-MM-DD> with a {NOTE}, which is written last.",
            )
        for name in seen:
            read_note(uri, name)
        found = {name: find_release(storage.join(uri, name), photographs, columns) for name in seen}
    else:
        found = {UNDATED: find_release(uri, photographs, columns)}
    for release in found.values():
        check_columns(release)
    return found


def _summary(names: Sequence[str]) -> str:
    return f"latest deliveries: {', '.join(names[-5:])}" if names else "there are no complete deliveries"


def news(landing: str, announced: Collection[tuple[str, str]], now: datetime.datetime) -> list[str]:
    """Return the complete deliveries of a landing that were not yet announced in their present state, oldest first.

    A delivery dated after `now` has to wait, for example if its day has begun in Tokyo but not in UTC: a run started
    for it would not see it.

    Args:
        landing: The landing; a plain release folder has no news.
        announced: Name and digest of the note of each announced delivery.
        now: The present moment, with a time zone.

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
    """Return the digest of a delivery's note, which tells whether the delivery was announced."""
    return hashlib.sha256(storage.read_bytes(storage.join(landing, name, NOTE))).hexdigest()


def announcement(
    landing: str, name: str, photographs: str | None, cache: DeliveryCache, columns: Columns = NOTEBOOK
) -> dict[str, Any]:
    """Return the content of a delivery's asset event: date, digests, and counts of rows and photographs.

    Raises:
        DataError: The delivery lacks files or columns, or differs from its note.
    """
    uri = storage.normalize(landing)
    note = read_note(uri, name)
    release = find_release(storage.join(uri, name), photographs, columns)
    check_columns(release)
    delivery, counted = identify(name, release, cache), count(name, release)
    for file, stated in note.rows.items():
        if counted.rows.get(file) != stated:
            raise DataError(
                f"The delivery {release.uri} states {stated:,} rows of {file} in its {NOTE}, but holds "
                f"{counted.rows.get(file, 0):,}.",
                "Add the complete file, or seal the delivery again with `python -m ml seal-delivery`.",
            )
    return {
        "date": name,
        "delivery": delivery.uri,
        "digest": note_digest(uri, name),
        "tables": delivery.tables,
        "photographs": delivery.photographs,
        "counts": {"rows": counted.rows, "photographs": counted.photographs},
    }
