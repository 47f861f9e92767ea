"""The manifest of an attempt: its files, metrics and counts, in one file whose presence commits the attempt."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ml import storage
from ml.errors import DataError
from ml.flow.record import Record
from ml.workflow import layout

PACKAGES = (
    "pyspark",
    "tensorflow",
    "keras",
    "numpy",
    "pyarrow",
    "polars",
    "opencv-python-headless",
    "pillow",
    "scikit-learn",
)

R = TypeVar("R", bound=Record)


class File(BaseModel):
    """A file of an attempt: its path in the attempt, its size in bytes, and its number of rows if it is Parquet."""

    model_config = ConfigDict(frozen=True)

    path: str
    bytes: int
    rows: int | None = None


class Manifest(BaseModel):
    """The manifest of an attempt, which is written once, as the attempt's last file.

    A stage done by delivery has a manifest for each delivery, and one that collects them. The latter names their
    attempts as `parts`, sums up their metrics and ledgers, and has no files.
    """

    model_config = ConfigDict(frozen=True)

    stage: str
    version: int
    key: str
    attempt: str
    uri: str
    config: dict[str, Any]
    inputs: dict[str, str]
    sources: dict[str, str]
    files: list[File]
    metrics: dict[str, Any]
    ledger: dict[str, int]
    versions: dict[str, str]
    started: str
    finished: str
    parts: dict[str, str] = {}

    def record(self, kind: type[R]) -> R:
        """Read the stage's record of its output.

        Raises:
            DataError: The manifest holds no such record, because another version of the program wrote it.
        """
        try:
            return kind.model_validate(self.metrics)
        except ValidationError as error:
            raise DataError(
                f"The manifest of {self.uri} holds no {kind.__name__}: {error}",
                f"Another version of the program wrote it. Run stage {self.stage} again.",
            ) from error

    def of_deliveries(self) -> list[Manifest]:
        """Return the manifests that list the files: those of the parts, oldest delivery first, or this one."""
        return [load_manifest(uri) for uri in self.parts.values()] or [self]

    def table(self, name: str) -> list[str]:
        """Return the URIs of a table's Parquet files, in order."""
        return list(self.table_rows(name))

    def table_rows(self, name: str) -> dict[str, int]:
        """Return the number of rows of each of a table's Parquet files by URI, in order."""
        return {
            storage.join(manifest.uri, file.path): file.rows or 0
            for manifest in self.of_deliveries()
            for file in manifest.files
            if file.path.startswith(f"{name}/")
        }

    def rows(self, name: str) -> int:
        """Return the number of rows of a table."""
        return sum(self.table_rows(name).values())

    def file(self, path: str) -> str:
        """Return the URI of a file; for a stage done by delivery, from the newest delivery that has it.

        Raises:
            KeyError: The attempt has no such file.
        """
        for manifest in reversed(self.of_deliveries()):
            if any(file.path == path for file in manifest.files):
                return storage.join(manifest.uri, path)
        raise KeyError(f"{self.uri} has no {path}")

    def whole(self) -> bool:
        """Return whether all files of the attempt and its parts still exist with the recorded sizes."""
        try:
            manifests = self.of_deliveries()
        except DataError:
            return False
        for manifest in manifests:
            sizes = storage.list_files(manifest.uri)
            if any(sizes.get(file.path) != file.bytes for file in manifest.files):
                return False
        return True


def load_manifest(attempt_uri: str) -> Manifest:
    """Read an attempt's manifest.

    Raises:
        DataError: The attempt was never committed, or its manifest is damaged.
    """
    uri = layout.manifest_uri(attempt_uri)
    try:
        return Manifest.model_validate_json(storage.read_bytes(uri))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{attempt_uri} has no manifest: it was never committed.", "Run its stage again.") from error
    except ValueError as error:
        raise DataError(f"{uri} is damaged: {error}", "Remove the attempt and run its stage again.") from error


def commit(key_uri: str, manifest: Manifest) -> None:
    """Write an attempt's manifest, which commits the attempt, and set the key's pointer to it."""
    content = manifest.model_dump_json(indent=2).encode()
    storage.write_bytes(layout.manifest_uri(manifest.uri), content)
    storage.write_json(layout.pointer_uri(key_uri), {"attempt": manifest.attempt})


def list_files(uri: str) -> list[File]:
    """List the files of an attempt folder, with the number of rows of Parquet files."""
    import pyarrow.parquet

    files = []
    for path, size in storage.list_files(uri).items():
        rows = None
        if path.endswith(".parquet"):
            with storage.open_read(storage.join(uri, path)) as file:
                rows = pyarrow.parquet.ParquetFile(file).metadata.num_rows
        files.append(File(path=path, bytes=size, rows=rows))
    return files


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that affect a stage's output.

    A Spark driver in a cluster has only what its job needs, not TensorFlow, for example.
    """
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
