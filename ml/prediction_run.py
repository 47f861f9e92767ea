"""Runs of the prediction flow: the photographs of a folder or bucket, and the model that answers for them."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from ml import storage
from ml.config import validate
from ml.deployment import load_deployment
from ml.errors import ConfigurationError, DataError
from ml.flow_configs import PredictionConfig
from ml.manifests import load_manifest
from ml.registry import Registry
from ml.release import modified
from ml.runs import FlowRun, slug
from ml.stages import stays

log = logging.getLogger(__name__)
LISTING_ROWS = 50_000  # written at a time
LISTING_SCHEMA = pa.schema([("photo", pa.string()), ("bytes", pa.int64())])
SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Listed:
    """A photograph in a listing: its path below the folder, escaped, its bytes, and its time or etag."""

    path: str
    bytes: int
    state: str


def escaped(path: str | os.PathLike[str]) -> str:
    r"""A path as it is shown and written: bytes that are no UTF-8, as old archives have them, become `\xe9`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def unescaped(path: str) -> str:
    """The path that `escaped` was given; who opens a file tries the path as it is written first."""
    raw = re.sub(rb"\\x([89a-f][0-9a-f])", lambda found: bytes.fromhex(found[1].decode()), os.fsencode(path))
    return os.fsdecode(raw)


def list_photographs(uri: str) -> Iterator[Listed]:
    """List the JPEG and PNG files of a folder or bucket and of all below it, in no order; hidden ones are left out."""
    fs, root = storage.filesystem(uri)
    if isinstance(fs, LocalFileSystem):
        for folder, folders, names in os.walk(root):
            folders[:] = [name for name in folders if name[0] != "."]
            for name in names:
                if _is_photograph(name):
                    path = os.path.join(folder, name)
                    # A link to nothing is listed, so that it is told as absent.
                    stat = os.stat(path) if os.path.exists(path) else os.lstat(path)
                    yield Listed(escaped(os.path.relpath(path, root)), stat.st_size, str(stat.st_mtime_ns))
        return
    for folder, _, files in fs.walk(root, detail=True):
        for name, info in files.items():
            path = f"{folder}/{name}"[len(root.rstrip("/")) + 1 :]
            if _is_photograph(name) and not any(part.startswith(".") for part in path.split("/")):
                yield Listed(path, int(info["size"]), modified(info))


def _is_photograph(name: str) -> bool:
    return name[0] != "." and name.lower().endswith(SUFFIXES)


def write_listing(photographs: Iterable[Listed], uri: str) -> tuple[int, str]:
    """Write a listing as a Parquet file (columns photo, bytes), in memory that does not grow with it.

    Returns:
        The number of photographs, and a digest of path, size and time (or etag) of all, whatever their order: their own
        digests are summed.
    """
    count = total = 0
    fs, path = storage.filesystem(uri)
    fs.makedirs(path.rpartition("/")[0], exist_ok=True)
    with fs.open(path, "wb") as file, pq.ParquetWriter(file, LISTING_SCHEMA) as writer:
        rest = iter(photographs)
        while part := list(itertools.islice(rest, LISTING_ROWS)):
            columns = [[listed.path for listed in part], [listed.bytes for listed in part]]
            writer.write_table(pa.table(columns, schema=LISTING_SCHEMA))
            count += len(part)
            for listed in part:
                line = f"{listed.path}\0{listed.bytes}\0{listed.state}"
                total = (total + int.from_bytes(hashlib.sha256(line.encode()).digest())) % (1 << 256)
    return count, f"{total:064x}"


def listing(run_uri: str) -> str:
    """The URI of the listing in a run folder."""
    return storage.join(run_uri, "photographs.parquet")


def newest_model(root: str) -> str:
    """The train attempt, of those that runs have pinned, which finished last.

    Raises:
        ConfigurationError: No run has trained a model yet.
    """
    runs = storage.join(storage.normalise(root), "runs")
    found = []
    for path in storage.list_files(runs):
        if path.endswith("/pins/train.json"):
            try:
                found.append(load_manifest(str(storage.read_json(storage.join(runs, path))["attempt"])))
            except DataError as error:  # removed since, perhaps to free space
                log.warning("passed over: %s", error)
    if not found:
        raise ConfigurationError(
            f"No run in {root} has trained a model yet.", "Run `make demo` first, or name a --model."
        )
    return max(found, key=lambda manifest: manifest.finished).uri


def default_model(root: str) -> str:
    """The train attempt of the champion of the deployment's `chip_class`; without one that which finished last.

    Raises:
        ConfigurationError: No run has trained a model yet.
    """
    registry = Registry(storage.normalise(root), load_deployment().defaults)
    if champion := registry.champion():
        log.info("the model is the champion: %s, %s", champion.title, champion.train)
        return champion.train
    attempt = newest_model(root)
    log.info("%s has no champion; the model is the one that was trained last: %s", registry.name, attempt)
    return attempt


def train_attempt(model: str) -> str:
    """The URI of a committed attempt of stage train.

    Raises:
        DataError: It was never committed.
        ConfigurationError: It is of another stage.
    """
    manifest = load_manifest(storage.normalise(model))
    if manifest.stage != "train":
        raise ConfigurationError(f"{model} is an attempt of stage {manifest.stage}.", "Name one of stage train.")
    return manifest.uri


def open_prediction(root: str, run_id: str, values: dict[str, Any]) -> FlowRun[PredictionConfig]:
    """Validate the parameters, list the photographs, choose the model, and write the run folder.

    Raises:
        ConfigurationError: A parameter is wrong or there is no model.
        DataError: There are no photographs.
    """
    config = validate(values, load_deployment().prediction)
    photographs = storage.normalise(config.photographs)
    if not storage.exists(photographs):
        raise DataError(f"There is no folder {photographs}.", "Correct the parameter `photographs`.")
    root = storage.normalise(root)
    model = train_attempt(config.model or default_model(root))
    # Settled from here on: the job may run in another folder, and later; what comes by then is not of this run.
    config = config.model_copy(update={"photographs": photographs, "model": model})
    name = slug(run_id, "prediction")
    uri = listing(storage.join(root, "runs", name))
    count, digest = write_listing(list_photographs(photographs), uri)
    if not count:
        storage.remove(uri)
        raise DataError(f"{photographs} holds no JPEG or PNG file.", "Correct the parameter `photographs`.")
    run = FlowRun(root, name, run_id, config, {"photographs": digest, "model": model})
    run.write()
    # The listing may take long. From here on the run holds its model, unless maintenance was removing it by then.
    if not stays(model):
        raise DataError(f"The model {model} was removed meanwhile.", "Name another model, or start the run again.")
    return run
