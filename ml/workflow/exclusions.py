"""The list of faces that a run excludes from training: the file of the parameter `exclude_faces`, and its copy."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from ml import storage
from ml.errors import ConfigurationError

COLUMN = "face_id"
EXCLUDED = "excluded.csv"  # the ids that a training left out, in its attempt


def read_excluded(uri: str) -> frozenset[str]:
    """Return the ids in column face_id of a CSV file; other columns and rows without an id do not count.

    Raises:
        ConfigurationError: There is no such file, it is not a CSV file in UTF-8, or it has no column face_id.
    """
    advice = f"Name a CSV file in UTF-8 with a column {COLUMN}, such as a run's suspects.csv, or leave it empty."
    try:
        # Spreadsheets may write a byte order mark.
        text = storage.read_bytes(uri).decode("utf-8-sig")
        # Strict, so that an unclosed quote is an error and does not swallow the rows after it.
        rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        columns = rows.fieldnames or []
        if COLUMN not in columns:
            found = ", ".join(columns)[:200] or "nothing"
            raise ConfigurationError(
                f"exclude_faces: {uri} has no column {COLUMN}; its first line is: {found}.", advice
            )
        return frozenset(face for row in rows if (face := (row[COLUMN] or "").strip()))
    except FileNotFoundError as error:
        raise ConfigurationError(f"exclude_faces: there is no file {uri}.", advice) from error
    except (OSError, ValueError, csv.Error) as error:  # ValueError: not UTF-8, or a null character in the path
        raise ConfigurationError(f"exclude_faces: {uri} cannot be read: {error}", advice) from error


def write_excluded(uri: str, face_ids: Iterable[str]) -> None:
    """Write ids as a CSV file that `read_excluded` reads."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([[COLUMN], *([face] for face in sorted(face_ids))])
    storage.write_bytes(uri, text.getvalue().encode())
