"""The note `delivery.json` that is written last into a delivery: what it holds."""

from __future__ import annotations

import datetime
import json
import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml import storage
from ml.errors import DataError
from ml.release.release import Release, check_columns, find_release

NOTE = "delivery.json"
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


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


def is_date(name: str) -> bool:
    """Return whether a folder's name is a date, as a delivery's must be: `YYYY-MM-DD`."""
    if not DATE.fullmatch(name):
        return False
    try:
        datetime.date.fromisoformat(name)
    except ValueError:
        return False
    return True


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
    uri = storage.normalize(folder)
    name = uri.rpartition("/")[2]
    if not is_date(name):
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
        photographs=sum(1 for _ in release.photographs.list()) if release.holds_photographs else None,
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
