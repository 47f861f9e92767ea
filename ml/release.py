"""A release of Open Images: where its files lie, what they must hold, and the digest by which its state is known."""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fsspec.implementations.local import LocalFileSystem

from ml import storage
from ml.config import RunConfig
from ml.errors import ConfigurationError, DataError

SUBSETS = ("train", "validation", "test")

# For each table the places where the published files lie, the official one first, then a flat folder of downloads.
# The boxes of 2018_04/validation and 2018_04/test are those of V4, fewer than V5's, and are deliberately not listed.
_LABELS = "{subset}-annotations-human-imagelabels-boxable.csv"
_BOXES = "{subset}-annotations-bbox.csv"
_MIAP = "open_images_extended_miap_boxes_{short}.csv"  # {short} is `val` for validation
_IMAGES = ("{subset}-images-boxable-with-rotation.csv", "{subset}-images-with-rotation.csv", "{subset}-images.csv")
LAYOUT: dict[str, tuple[str, ...]] = {
    "labels": (f"v5/{_LABELS}", _LABELS),
    "boxes": (f"v5/{_BOXES}", _BOXES),
    "images": (*(f"2018_04/{{subset}}/{name}" for name in _IMAGES), *_IMAGES),
    "miap": (f"open_images_extended_miap/{_MIAP}", _MIAP),
}
OPTIONAL = ("miap",)  # a table that a release, or one of its subsets, may lack
TRAIN_BOXES = ("2018_04/train/train-annotations-bbox.csv", "train-annotations-bbox.csv")
CLASSES = ("v5/class-descriptions-boxable.csv", "class-descriptions-boxable.csv")

# The columns without which a table is of no use. Files may hold more, in any order; Rotation came in 2018.
REQUIRED_COLUMNS: dict[str, tuple[str, ...]] = {
    "labels": ("ImageID", "Source", "LabelName", "Confidence"),
    "boxes": (
        *("ImageID", "Source", "LabelName", "Confidence", "XMin", "XMax", "YMin", "YMax"),
        *("IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside"),
    ),
    "images": ("ImageID", "Subset", "OriginalLandingURL", "License", "Author", "Title"),
    "miap": (
        *("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax"),
        *("IsOccluded", "IsTruncated", "IsGroupOf", "IsDepictionOf", "IsInsideOf"),
        *("GenderPresentation", "AgePresentation"),
    ),
}


@dataclass(frozen=True)
class Release:
    """The files of a release, found.

    Attributes:
        uri: The release folder.
        photographs: The folder, or http address, that holds `{subset}/{ImageID}.jpg`.
        classes: URI of the class descriptions.
        tables: URI of the CSV file by table (labels, boxes, images) and subset; `miap` with the subsets that have it,
            and not at all where none has.
    """

    uri: str
    photographs: str
    classes: str
    tables: dict[str, dict[str, str]]

    def photograph(self, subset: str, image_id: str) -> str:
        """The URI of one photograph."""
        return f"{self.photographs}/{subset}/{image_id}.jpg"

    def table_files(self) -> Iterator[str]:
        """The URIs of the tables' files."""
        for by_subset in self.tables.values():
            yield from by_subset.values()

    def files(self) -> Iterator[str]:
        """The URIs of all annotation files."""
        yield self.classes
        yield from self.table_files()


def find_release(uri: str, photographs: str | None = None) -> Release:
    """Find the files of the release at `uri`.

    Raises:
        DataError: There is no such folder, or a file is missing or empty.
    """
    uri = storage.normalise(uri)
    if not storage.exists(uri):
        raise DataError(f"There is no release at {uri}.", "Correct the parameter `release`.")
    tables: dict[str, dict[str, str]] = {}
    for table in LAYOUT:
        for subset in SUBSETS:
            found = _look(uri, places(table, subset)) if table in OPTIONAL else _find(uri, places(table, subset))
            if found:
                tables.setdefault(table, {})[subset] = found
    where = storage.normalise(photographs) if photographs else uri
    return Release(uri, where, _find(uri, CLASSES), tables)


def places(table: str, subset: str) -> list[str]:
    """Where a table's file of a subset may lie in a release, the official place first."""
    known = TRAIN_BOXES if (table, subset) == ("boxes", "train") else LAYOUT[table]
    return [place.format(subset=subset, short="val" if subset == "validation" else subset) for place in known]


def _look(uri: str, candidates: Sequence[str]) -> str | None:
    for candidate in candidates:
        found = storage.join(uri, candidate)
        if storage.exists(found):
            fs, path = storage.filesystem(found)
            if fs.size(path) == 0:
                raise DataError(f"{found} is empty.", "Download the file again.")
            return found
    return None


def _find(uri: str, candidates: Sequence[str]) -> str:
    if found := _look(uri, candidates):
        return found
    raise DataError(
        f"The release at {uri} has no {candidates[0]} (nor {', '.join(candidates[1:])}).",
        "Download the missing file; docs/your-own-release.md lists all of them.",
    )


def check_columns(release: Release) -> None:
    """Check the header of every table.

    Raises:
        DataError: A required column is missing.
    """
    for table, by_subset in release.tables.items():
        for uri in by_subset.values():
            found = header(uri)
            if missing := [name for name in REQUIRED_COLUMNS[table] if name not in found]:
                raise DataError(
                    f"{uri} lacks the column {', '.join(missing)} (it has {', '.join(found)}).",
                    "Use the published file, with its first line.",
                )


def header(uri: str) -> list[str]:
    """The column names in the first line of a CSV file."""
    fs, path = storage.filesystem(uri)
    with fs.open(path, "rb") as file:
        line = file.readline().decode("utf-8-sig", errors="replace")
    return next(csv.reader(io.StringIO(line)), [])


def read_classes(release: Release) -> dict[str, str]:
    """Class name to MID, from the class descriptions.

    Raises:
        DataError: It is not UTF-8, or a line is not `MID,name`.
    """
    advice = "Use the published class-descriptions-boxable.csv."
    try:
        text = storage.read_bytes(release.classes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{release.classes} is not UTF-8: {error}", advice) from error
    names: dict[str, str] = {}
    for number, row in enumerate(csv.reader(io.StringIO(text)), start=1):
        if len(row) != 2 or not row[0].startswith("/"):
            raise DataError(
                f"{release.classes}, line {number}: expected `MID,name`, found {','.join(row)!r}.",
                advice,
            )
        names[row[1]] = row[0]
    return names


def check_classes(config: RunConfig, names: Iterable[str]) -> None:
    """Check that every class named in the configuration is described in the release.

    Raises:
        ConfigurationError: A class is unknown; close names are proposed.
    """
    known = list(names)
    for field, wanted in (("chip_class", [config.chip_class]), ("labels", list(config.label_classes))):
        for name in wanted:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=3)
                hint = f"Did you mean {' or '.join(close)}?" if close else "See class-descriptions-boxable.csv."
                raise ConfigurationError(f"{field}: the release describes no class {name!r}.", hint)


def tables_digest(release: Release, cache: str) -> str:
    """A digest of path, size and SHA-256 of every annotation file.

    Args:
        release: The release.
        cache: Folder URI where the SHA-256 of a file is kept by path, size and time, so that it is computed once.
    """
    total = hashlib.sha256()
    for uri in release.files():
        fs, path = storage.filesystem(uri)
        info = fs.info(path)
        state = [uri, info["size"], modified(info)]
        entry = storage.join(cache, f"{hashlib.sha256(repr(state).encode()).hexdigest()[:32]}.json")
        if storage.exists(entry):
            content = storage.read_json(entry)["sha256"]
        else:
            content = file_digest(uri)
            storage.write_json(entry, {"file": uri, "size": info["size"], "sha256": content})
        total.update(f"{uri.removeprefix(release.uri)} {info['size']} {content}\n".encode())
    return total.hexdigest()


def file_digest(uri: str) -> str:
    """The SHA-256 of a file's content."""
    fs, path = storage.filesystem(uri)
    with fs.open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def modified(info: dict[str, object]) -> str:
    """The time or etag of a file, by what its file system tells of it."""
    return str(info.get("ETag") or info.get("etag") or info.get("LastModified") or info.get("mtime"))


def photographs_digest(release: Release) -> str:
    """A digest of path, size and time (or etag) of every photograph; of the address alone where it is http.

    The photographs' own digests are summed, so that millions of them need neither order nor memory.
    """
    if release.photographs.startswith(("http://", "https://")):
        return hashlib.sha256(release.photographs.encode()).hexdigest()
    total = 0
    for subset, image_id, state in listed_photographs(release.photographs):
        line = f"{subset}/{image_id}.jpg {state}"
        total = (total + int.from_bytes(hashlib.sha256(line.encode()).digest())) % (1 << 256)
    return f"{total:064x}"


def listed_photographs(uri: str) -> Iterator[tuple[str, str, str]]:
    """List the photographs below a folder, in no order: subset, ImageID, and size with time or etag as text."""
    fs, path = storage.filesystem(uri)
    for subset in SUBSETS:
        folder = f"{path}/{subset}"
        if not fs.exists(folder):
            continue
        if isinstance(fs, LocalFileSystem):
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.endswith(".jpg"):
                        stat = entry.stat()
                        yield subset, entry.name.removesuffix(".jpg"), f"{stat.st_size} {stat.st_mtime_ns}"
        else:
            for info in fs.ls(folder, detail=True):
                name = info["name"].rsplit("/", 1)[-1]
                if name.endswith(".jpg"):
                    yield subset, name.removesuffix(".jpg"), f"{info['size']} {modified(info)}"
