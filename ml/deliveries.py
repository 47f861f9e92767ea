"""Deliveries: the dated folders of a landing, the digests by which each is known, and which of them a run sees.

A landing holds folders named `<YYYY-MM-DD>`, each a release in the official layout with some of the rows and
photographs, and a `delivery.json` that is written last: a folder without it is not there yet. What a delivery holds
never changes afterwards; a correction is a later delivery, which replaces, table by table, all rows of an image that
it holds again, and its photograph. A plain release folder counts as a landing with one delivery, without a date.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
import re
from collections.abc import Collection, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml import storage
from ml.errors import DataError, NothingNewError
from ml.release import (
    CLASSES,
    Release,
    check_columns,
    find_release,
    listed_photographs,
    modified,
    photographs_digest,
    tables_digest,
)

log = logging.getLogger(__name__)

NOTE = "delivery.json"
UNDATED = "release"  # the name of the one delivery of a plain release folder
DATED = re.compile(r"\d{4}-\d{2}-\d{2}")


class Delivery(BaseModel):
    """A delivery as a run saw it when it was opened.

    Attributes:
        name: Its date, `YYYY-MM-DD`, or `release` for a plain release folder.
        uri: Its folder.
        tables: Digest of its annotation files.
        photographs: Digest of its photographs, or of their address where they lie behind http.
        listing: Digest of the photographs' names, under which `listing_uri` keeps them; empty where nobody needs them.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    uri: str
    tables: str
    photographs: str
    listing: str = ""

    @property
    def date(self) -> datetime.date | None:
        """Its date, None for a plain release folder."""
        return None if self.name == UNDATED else datetime.date.fromisoformat(self.name)


class Note(BaseModel):
    """What a `delivery.json` says; all of it may be left out.

    Attributes:
        date: The folder's name.
        rows: Lines of each annotation file after the first, by its path in the folder; a delivery with others is not
            announced.
        photographs: Number of photographs; a run that finds another number refuses the delivery.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    date: datetime.date | None = None
    rows: dict[str, Annotated[int, Field(ge=0)]] = {}
    photographs: Annotated[int, Field(ge=0)] | None = None


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
    return sorted(name for name in names if DATED.fullmatch(name) and _is_date(name))


def _is_date(name: str) -> bool:
    try:
        datetime.date.fromisoformat(name)
    except ValueError:
        return False
    return True


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


def read_note(landing: str, name: str) -> Note:
    """What the `delivery.json` of a delivery says.

    Raises:
        DataError: It is no JSON object, says something else than it may, or names another date.
    """
    uri = storage.join(landing, name, NOTE)
    try:
        note = Note.model_validate(storage.read_json(uri))
    except (ValidationError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{uri} is not as it must be: {error}", "Write it anew with `python -m ml seal-delivery`."
        ) from error
    if note.date is not None and note.date.isoformat() != name:
        raise DataError(f"{uri} names the date {note.date}, its folder is {name}.", "Rename the folder, or correct it.")
    return note


def seal(folder: str) -> Note:
    """Count what a delivery holds and write its `delivery.json`, after which it is there.

    Raises:
        DataError: The folder's name is no date, or it holds no release in the official layout.
    """
    uri = storage.normalise(folder)
    name = uri.rpartition("/")[2]
    if not (DATED.fullmatch(name) and _is_date(name)):
        raise DataError(f"{uri} is no folder of a landing: its name is no date.", "Name it <YYYY-MM-DD>.")
    release = find_release(uri)
    check_columns(release)
    note = count(name, release)
    storage.write_json(storage.join(uri, NOTE), note.model_dump(mode="json"))
    return note


def count(name: str, release: Release) -> Note:
    """Count the rows of a dated delivery's tables, and its photographs."""
    return Note(
        date=datetime.date.fromisoformat(name),
        rows={file.removeprefix(release.uri).lstrip("/"): _rows(file) for file in release.table_files()},
        # Those of another place are no part of the delivery.
        photographs=sum(1 for _ in listed_photographs(release.uri)) if release.photographs == release.uri else None,
    )


def _rows(uri: str) -> int:
    """Lines of a file after the first."""
    fs, path = storage.filesystem(uri)
    breaks, last = 0, b""
    with fs.open(path, "rb") as file:
        while block := file.read(8 << 20):
            breaks += block.count(b"\n")
            last = block[-1:]
    return max(0, breaks - 1 if last == b"\n" else breaks)


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
    uri = storage.normalise(uri)
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


def identify(name: str, release: Release, root: str) -> Delivery:
    """Give a delivery the digests by which it is known.

    Those of a dated one, which never changes after its note was written, are computed once and kept.

    Args:
        name: The delivery's name.
        release: Its files.
        root: The storage root, where digests and listings are kept.

    Raises:
        DataError: It holds another number of photographs than its note states.
    """
    digests = storage.join(root, "digests")
    own = release.photographs == release.uri  # else they are of all deliveries, and may come at any time
    entry = ""
    if name != UNDATED and own:
        fs, path = storage.filesystem(storage.join(release.uri, NOTE))
        info = fs.info(path)
        state = repr([release.uri, info["size"], modified(info)])
        entry = storage.join(digests, f"delivery-{hashlib.sha256(state.encode()).hexdigest()[:32]}.json")
        if storage.exists(entry):
            return Delivery.model_validate(storage.read_json(entry))
    delivery = Delivery(
        name=name,
        uri=release.uri,
        tables=tables_digest(release, digests),
        photographs=photographs_digest(release),
        listing=_keep_listing(name, release, root) if entry else "",
    )
    if entry:
        storage.write_json(entry, delivery.model_dump(mode="json"))
    return delivery


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
    uri = storage.normalise(landing)
    if not storage.exists(uri):
        raise DataError(f"There is no landing at {uri}.", "Correct `release` in the deployment's file.")
    if not is_landing(uri):
        return []
    return [name for name in visible(arrived(uri), now) if (name, note_digest(uri, name)) not in announced]


def note_digest(landing: str, name: str) -> str:
    """A digest of a delivery's note, by which it is known whether it was announced."""
    return hashlib.sha256(storage.read_bytes(storage.join(landing, name, NOTE))).hexdigest()


def announcement(landing: str, name: str, photographs: str | None, root: str) -> dict[str, Any]:
    """What the landing's event says of a delivery: date, digests, and counts of rows and photographs.

    Raises:
        DataError: The delivery is not as it must be.
    """
    uri = storage.normalise(landing)
    note = read_note(uri, name)
    release = find_release(storage.join(uri, name), photographs)
    check_columns(release)
    delivery, counted = identify(name, release, root), count(name, release)
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


def listing_uri(root: str, listing: str) -> str:
    """Where the names of a delivery's photographs are kept: Parquet with the columns subset and image_id."""
    return storage.join(root, "listings", f"{listing}.parquet")


def _keep_listing(name: str, release: Release, root: str) -> str:
    """Keep the names of a delivery's photographs, and return the digest of them under which they are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = sorted((subset, image_id) for subset, image_id, _ in listed_photographs(release.photographs))
    stated = read_note(release.uri.rpartition("/")[0], name).photographs
    if stated not in (None, len(names)):
        raise DataError(
            f"The delivery {release.uri} holds {len(names)} photographs, its {NOTE} states {stated}.",
            f"Bring the photographs that are missing and write its {NOTE} anew.",
        )
    digest = hashlib.sha256(repr(names).encode()).hexdigest()[:32]
    uri = listing_uri(root, digest)
    if not storage.exists(uri):
        columns = {"subset": [subset for subset, _ in names], "image_id": [image_id for _, image_id in names]}
        buffer = pa.BufferOutputStream()
        pq.write_table(pa.table({column: pa.array(values, pa.string()) for column, values in columns.items()}), buffer)
        storage.write_bytes(uri, buffer.getvalue().to_pybytes())
        log.info("delivery %s: %s photographs", release.uri, f"{len(names):,}")
    return digest


def combined(digests: Sequence[str]) -> str:
    """One digest of several in their order; a single one stays what it is."""
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()
