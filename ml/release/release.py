"""A release of Open Images: find its files, check them, and compute the digest of their state."""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ml import storage
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError, DataError
from ml.photographs.opening import open_photographs
from ml.photographs.parquet_shards import NOTEBOOK, Columns
from ml.photographs.source import SUBSETS, Photographs
from ml.release.layout import CLASSES, LAYOUT, OPTIONAL, places
from ml.storage import file_digest, modified


@dataclass(frozen=True)
class Release:
    """The files of a release.

    Attributes:
        uri: The release folder.
        photographs: The place that holds the photographs.
        classes: URI of the class descriptions.
        tables: URI of the CSV file by table (labels, boxes, images, miap) and subset; `miap` only has the subsets that
            have a file, and is absent if none has.
    """

    uri: str
    photographs: Photographs
    classes: str
    tables: dict[str, dict[str, str]]

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


def find_release(uri: str, photographs: str | None = None, columns: Columns = NOTEBOOK) -> Release:
    """Find the files of the release at `uri`.

    Args:
        uri: The release folder.
        photographs: Where the photographs are, if they are not in that folder.
        columns: The columns of photographs in Parquet tables.

    Raises:
        DataError: There is no such folder, or a file is missing or empty.
    """
    uri = storage.normalize(uri)
    if not storage.exists(uri):
        raise DataError(f"There is no release at {uri}.", "Correct the parameter `release`.")
    tables: dict[str, dict[str, str]] = {}
    for table in LAYOUT:
        for subset in SUBSETS:
            candidates = [name for place in places(table, subset) for name in (place, f"{place}.gz")]
            found = _look(uri, candidates) if table in OPTIONAL else _find(uri, candidates)
            if found:
                tables.setdefault(table, {})[subset] = found
    return Release(uri, open_photographs(photographs or uri, columns), _find(uri, CLASSES), tables)


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


def header(uri: str) -> list[str]:
    """Return the column names in the first line of a CSV file."""
    with storage.open_plain(uri) as file:
        line = file.readline().decode("utf-8-sig", errors="replace")
    return next(csv.reader(io.StringIO(line)), [])


def read_classes(release: Release) -> dict[str, str]:
    """Read the class descriptions and map each class name to its MID.

    Raises:
        DataError: The file is not UTF-8, or a line is not `MID,name`.
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
