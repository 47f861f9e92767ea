"""The note `delivery.json`, which states what a delivery holds and completes it."""

from __future__ import annotations

import datetime
import json
import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml import storage
from ml.errors import DataError
from ml.photographs.source import NOTEBOOK, Columns
from ml.release.contract import check_columns
from ml.release.release import DAMAGES, Release, find_release

NOTE = "delivery.json"
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class Note(BaseModel):
    """The content of a `delivery.json`; every field is optional.

    Attributes:
        date: The delivery's date, which is the folder's name.
        rows: Number of lines after the header of each annotation file, by its path in the folder. A delivery whose
            files differ is not announced.
        photographs: Number of photographs; a run refuses a delivery whose number differs.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    date: datetime.date | None = None
    rows: dict[str, Annotated[int, Field(ge=0)]] = {}
    photographs: Annotated[int, Field(ge=0)] | None = None


def is_date(name: str) -> bool:
    """Return whether a folder's name is a date, `YYYY-MM-DD`, as the name of a delivery must be."""
    if not DATE.fullmatch(name):
        return False
    try:
        datetime.date.fromisoformat(name)
    except ValueError:
        return False
    return True


def read_note(landing: str, name: str) -> Note:
    """Read the `delivery.json` of a delivery.

    Raises:
        DataError: It is not a valid note, or its date is not the folder's name.
    """
    uri = storage.join(landing, name, NOTE)
    try:
        note = Note.model_validate(storage.read_json(uri))
    except (ValidationError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{uri} is not a valid note: {error}", "Write it again with `python -m ml seal-delivery`."
        ) from error
    if note.date is not None and note.date.isoformat() != name:
        raise DataError(
            f"{uri} names the date {note.date}, but its folder is {name}.", "Rename the folder, or correct the note."
        )
    return note


def seal(folder: str, columns: Columns = NOTEBOOK) -> Note:
    """Count what a delivery holds and write its `delivery.json`, which makes it complete.

    Args:
        folder: The delivery.
        columns: The columns of photographs in Parquet tables.

    Raises:
        DataError: There is no such folder, its name is not a date, it holds no release, or a file of the release is
            damaged.
    """
    uri = storage.normalize(folder)
    if not storage.exists(uri):
        raise DataError(f"There is no folder {uri}.", "Name the folder of a delivery.")
    name = uri.rpartition("/")[2]
    if not is_date(name):
        raise DataError(f"{uri} is not a delivery: its name is not a date.", "Name the folder <YYYY-MM-DD>.")
    release = find_release(uri, columns=columns)
    check_columns(release)
    note = count(name, release)
    storage.write_json(storage.join(uri, NOTE), note.model_dump(mode="json"))
    return note


def count(name: str, release: Release) -> Note:
    """Count the rows of a dated delivery's tables, and its photographs."""
    return Note(
        date=datetime.date.fromisoformat(name),
        rows={file.removeprefix(release.uri).lstrip("/"): _rows(file) for file in release.table_files()},
        # Photographs stored elsewhere are not part of the delivery.
        photographs=sum(1 for _ in release.photographs.list()) if release.holds_photographs else None,
    )


def _rows(uri: str) -> int:
    """Count the lines of a file after the header.

    Raises:
        DataError: The file is compressed and damaged.
    """
    breaks, last = 0, b""
    try:
        with storage.open_plain(uri) as file:
            while block := file.read(8 << 20):
                breaks += block.count(b"\n")
                last = block[-1:]
    except DAMAGES as error:
        raise DataError(f"{uri} cannot be read: {error}.", "Download the file again.") from error
    return max(0, breaks - 1 if last == b"\n" else breaks)
