"""A release of Open Images: find its files, check them, and compute the digest of their state."""

from __future__ import annotations

import csv
import difflib
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ml import storage
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError, DataError
from ml.photographs.opening import open_photographs
from ml.photographs.source import NOTEBOOK, SUBSETS, Columns, Photographs
from ml.release.layout import (
    ALL,
    CLASSES,
    FIRST,
    GZIP,
    OPTIONAL,
    TABLES,
    Place,
    common_versions,
    folders,
    places,
    version_name,
)
from ml.storage import file_digest, modified

CLASS_HEADERS = (["id", "name"], ["LabelName", "DisplayName"])  # of the class descriptions of V6 and of V7
HEADER_BYTES = 1 << 16  # many more than the first line of any published file has
# What reading a damaged file raises: its gzip stream is broken or cut short, or its text is no CSV.
DAMAGES = (gzip.BadGzipFile, EOFError, zlib.error, csv.Error)


@dataclass(frozen=True)
class Release:
    """The files of a release.

    Attributes:
        uri: The release folder.
        photographs: The place that holds the photographs.
        classes: URI of the class descriptions.
        tables: URI of the CSV file by table (labels, boxes, images, miap) and subset; `miap` only has the subsets that
            have a file, and is absent if none has. A file that holds all subsets stands under `ALL` alone.
        version: The published version that the files are of, such as `V5`; see `ml.release.layout.version_name`.
        all_classes: URIs of the image-level labels of all classes, described or not.
        counted: URIs of the files whose number of rows is known, see `ml.release.contract.PUBLISHED_ROWS`.
    """

    uri: str
    photographs: Photographs
    classes: str
    tables: dict[str, dict[str, str]]
    version: str
    all_classes: frozenset[str]
    counted: frozenset[str]

    @property
    def holds_photographs(self) -> bool:
        """Whether the photographs are in the release's own folder, not in a place shared by all deliveries."""
        return self.photographs.uri == self.uri

    def table_files(self) -> Iterator[str]:
        """Yield the URIs of the tables' files."""
        for by_subset in self.tables.values():
            yield from by_subset.values()

    def files(self) -> Iterator[str]:
        """Yield the URIs of all annotation files."""
        yield self.classes
        yield from self.table_files()


class Found(NamedTuple):
    """A file of a release, and the place that says what it holds."""

    uri: str
    place: Place


def find_release(uri: str, photographs: str | None = None, columns: Columns = NOTEBOOK) -> Release:
    """Find the files of the release at `uri`, and recognize the published version that they are of.

    Args:
        uri: The release folder.
        photographs: Where the photographs are, if they are not in that folder.
        columns: The columns of photographs in Parquet tables.

    Raises:
        DataError: There is no such folder; a file is missing or empty; two files hold the same rows; or files of V4 are
            mixed with files of later versions.
    """
    uri = storage.normalize(uri)
    if not storage.exists(uri):
        raise DataError(f"There is no release at {uri}.", "Correct the parameter `release`.")
    sizes = _sizes(uri)
    wanted = [(CLASSES, ALL), *((table, subset) for table in TABLES for subset in SUBSETS)]
    found = {key: file for key in wanted if (file := _choose(uri, *key, sizes))}
    first, last = common_versions(file.place for file in found.values())
    for table, subset in wanted:
        if (table, subset) not in found and table not in OPTIONAL:
            raise _missing(uri, table, subset, first, last)
    if first > last == FIRST:
        raise _mixed(uri, list(found.values()))
    tables: dict[str, dict[str, str]] = {table: {} for table in TABLES}
    for (table, subset), file in found.items():
        if table != CLASSES:
            tables[table][ALL if file.place.subset == ALL else subset] = file.uri
    return Release(
        uri=uri,
        photographs=open_photographs(photographs or uri, columns),
        classes=found[CLASSES, ALL].uri,
        tables={table: by_subset for table, by_subset in tables.items() if by_subset},
        version=version_name(first, last),
        all_classes=frozenset(file.uri for file in found.values() if file.place.all_classes),
        counted=frozenset(file.uri for file in found.values() if file.place.counted),
    )


def describes_classes(uri: str) -> bool:
    """Return whether a folder has class descriptions, as every release has."""
    return _choose(uri, CLASSES, ALL, _sizes(uri)) is not None


def _sizes(uri: str) -> dict[str, int]:
    """Return the size in bytes of each file in the folders that may hold annotation files, by path."""
    return {
        f"{folder}/{name}".lstrip("/"): size
        for folder in folders()
        for name, size in storage.list_folder(storage.join(uri, folder) if folder else uri).items()
    }


def _choose(uri: str, table: str, subset: str, sizes: Mapping[str, int]) -> Found | None:
    """Return the file that holds the rows of a table and a subset, or None if there is none.

    Raises:
        DataError: There are several, or it is empty.
    """
    found = [
        Found(storage.join(uri, path), place)
        for place in places(table, subset)
        for path in (place.path, place.path + GZIP)
        if path in sizes
    ]
    found = [file for file in found if not file.place.superseded] or found
    if len(found) > 1:
        rows = table if subset == ALL else f"{table} of subset {subset}"
        raise DataError(
            f"Two files hold the {rows}: {found[0].uri} and {found[1].uri}.", "Keep one of them in the release folder."
        )
    for file in found:
        if not sizes[file.uri.removeprefix(uri).lstrip("/")]:
            raise DataError(f"{file.uri} is empty.", "Download the file again.")
        return file
    return None


def _missing(uri: str, table: str, subset: str, first: int, last: int) -> DataError:
    """Return the error that names the missing file as the version of the other files has it."""
    known = places(table, subset)
    names = [place.path for place in known if place.fits(min(first, last), max(first, last))]
    return DataError(
        f"The release at {uri} has no {names[0]} (nor {', '.join(names[1:])}), compressed (.gz) or not.",
        "Download the missing file; docs/your-own-release.md lists all of them.",
    )


def _mixed(uri: str, found: Iterable[Found]) -> DataError:
    old = next(file.uri for file in found if file.place.last == FIRST)
    new = next(file.uri for file in found if file.place.first > FIRST)
    return DataError(
        f"The release at {uri} mixes versions: {old} is of V4, and {new} of a later one.",
        "V4 has fewer boxes and labels. Download the file of the later version; docs/your-own-release.md lists all.",
    )


def header(uri: str) -> list[str]:
    """Return the column names in the first line of a CSV file.

    Raises:
        DataError: The file is damaged, or its lines end in carriage returns alone.
    """
    try:
        with storage.open_plain(uri) as file:
            line = file.readline(HEADER_BYTES).decode("utf-8-sig", errors="replace").rstrip("\r\n")
        if "\r" in line or len(line) >= HEADER_BYTES:  # ranges are cut at line feeds
            raise DataError(f"The lines of {uri} do not end in line feeds.", "Download the file again.")
        return next(csv.reader([line]), [])
    except DAMAGES as error:
        raise DataError(f"The first line of {uri} cannot be read: {error}.", "Download the file again.") from error


def read_classes(uri: str) -> dict[str, str]:
    """Read the class descriptions and map each class name to its MID. The first line may be a header, as since V6.

    Raises:
        DataError: The file is damaged or not UTF-8, or a line is not `MID,name`.
    """
    advice = "Use the published class-descriptions-boxable.csv."
    try:
        with storage.open_plain(uri) as file:
            text = file.read().decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(text, newline="")))
    except UnicodeDecodeError as error:
        raise DataError(f"{uri} is not UTF-8: {error}", advice) from error
    except DAMAGES as error:
        raise DataError(f"{uri} cannot be read: {error}.", advice) from error
    names: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        if number == 1 and row in CLASS_HEADERS:
            continue
        if len(row) != 2 or not row[0].startswith("/"):
            raise DataError(
                f"{uri}, line {number}: expected `MID,name`, found {','.join(row)!r}.",
                advice,
            )
        names[row[1]] = row[0]
    return names


def check_classes(config: TrainingConfig, names: Iterable[str]) -> None:
    """Check that the release describes every class in the configuration.

    Raises:
        ConfigurationError: A class is unknown; the advice suggests similar names.
    """
    known = list(names)
    for field, wanted in (("chip_class", [config.chip_class]), ("labels", list(config.label_classes))):
        for name in wanted:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=3)
                hint = f"Did you mean {' or '.join(close)}?" if close else "See class-descriptions-boxable.csv."
                raise ConfigurationError(f"{field}: the release has no class {name!r}.", hint)


def tables_digest(release: Release, cache: str) -> str:
    """Return a digest of path, size and SHA-256 of every annotation file.

    Args:
        release: The release.
        cache: URI of the folder that caches the SHA-256 of each file by path, size and time.
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
