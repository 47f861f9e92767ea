"""Fetch the annotation files once into a cache: resumed by range, checked by size and by the published digest."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import logging
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ml import disk, storage
from ml.config.download import DownloadConfig
from ml.download.attempts import Patience
from ml.download.faults import FetchError, Reason
from ml.download.progress import Progress, show_progress
from ml.download.sources import FileState, Host, open_host, open_session
from ml.errors import ConfigurationError, DataError, ResourceError, StageError, TransientError
from ml.flow.record import Record

log = logging.getLogger(__name__)
AT_ONCE = 4  # files fetched at the same time
HOPELESS = (Reason.ABSENT, Reason.REFUSED)
CLASSES = "v5/class-descriptions-boxable.csv"
LABELS = "v5/{subset}-annotations-human-imagelabels-boxable.csv"
MIAP = "open_images_extended_miap/open_images_extended_miap_boxes_{short}.csv"
# The files of V5 by table; `train` lies elsewhere for some. A table that a host may lack is in OPTIONAL.
PATHS = {
    "labels": (LABELS, LABELS),
    "boxes": ("2018_04/train/train-annotations-bbox.csv", "v5/{subset}-annotations-bbox.csv"),
    "images": (
        "2018_04/train/train-images-boxable-with-rotation.csv",
        "2018_04/{subset}/{subset}-images-with-rotation.csv",
    ),
    "miap": (MIAP, MIAP),
}
OPTIONAL = ("miap",)


def official_path(table: str, subset: str) -> str:
    """Return the path of a table's file in the published layout of V5."""
    train, other = PATHS[table]
    short = "val" if subset == "validation" else subset
    return (train if subset == "train" else other).format(subset=subset, short=short)


@dataclass(frozen=True)
class Annotations:
    """The cached annotation files.

    Attributes:
        folder: The folder in which they have their official paths.
        tables: The files by table and subset.
    """

    folder: Path
    tables: dict[str, dict[str, Path]]

    @property
    def classes(self) -> Path:
        """The class descriptions."""
        return self.folder / CLASSES


class CachedFile(Record):
    """What is known of a file in the cache, kept beside it under the name `<file>.json`.

    Attributes:
        url: The host that it came from.
        size: Size in bytes.
        version: The version at the host; while the file is incomplete, the version to continue.
        md5: The digest that the host publishes, if it does. The file was checked against it.
    """

    url: str
    size: int | None
    version: str | None
    md5: str | None


def cache_folder(config: DownloadConfig, default: str) -> Path:
    """Return the folder of the cached files of the configured host.

    Args:
        config: The parameters.
        default: The folder to use unless the configuration names one.

    Raises:
        ConfigurationError: The folder is not on this machine.
    """
    folder = storage.local_path(config.cache or default)
    if folder is None:
        raise ConfigurationError(
            f"The annotation files cannot be cached in {config.cache or default}, which is not on this machine.",
            "Set the parameter `cache` to a local folder with about 3 GB of space.",
        )
    return folder / hashlib.sha256(config.annotations_url.encode()).hexdigest()[:12]


def subsets_of(config: DownloadConfig) -> list[str]:
    """Return the subsets from which images are picked."""
    return [subset for subset, share in config.subsets.items() if share > 0]


def wanted_files(config: DownloadConfig) -> dict[str, bool]:
    """Return the paths of the annotation files that a download needs, and whether the host must have them."""
    files = {CLASSES: True}
    for table in PATHS:
        files |= {official_path(table, subset): table not in OPTIONAL for subset in subsets_of(config)}
    return files


def missing_files(config: DownloadConfig, folder: Path) -> list[str]:
    """Return the paths of the required annotation files that the cache does not hold."""
    return [path for path, required in wanted_files(config).items() if required and not is_cached(folder / path)]


def is_cached(file: Path) -> bool:
    """Return whether the cache holds a whole file."""
    known = _known(file)
    return known is not None and file.is_file() and known.size == file.stat().st_size


def find_annotations(config: DownloadConfig, folder: Path) -> Annotations:
    """Return the annotation files in the cache."""
    tables: dict[str, dict[str, Path]] = {}
    for table in PATHS:
        for subset in subsets_of(config):
            if is_cached(file := folder / official_path(table, subset)):
                tables.setdefault(table, {})[subset] = file
    return Annotations(folder, tables)


def fetch_annotations(config: DownloadConfig, folder: Path) -> Annotations:
    """Fetch the annotation files that the cache does not hold yet.

    Raises:
        DataError: The host lacks a file, or refuses it.
        TransientError: A file could not be fetched. What has arrived is kept for the next call.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        if missing := [path for path in wanted_files(config) if not is_cached(folder / path)]:
            asyncio.run(_fetch(config, folder, missing))
    return find_annotations(config, folder)


async def _fetch(config: DownloadConfig, folder: Path, paths: Collection[str]) -> None:
    required = wanted_files(config)
    async with (
        open_session() as session,
        open_host(config.annotations_url, session, config.timeout_seconds, AT_ONCE) as host,
    ):
        states = await look_at(host, config, [path for path in paths if required[path]])
        states |= await look_at(host, config, [path for path in paths if not required[path]], lenient=True)
        size = sum(state.size or 0 for state in states.values())
        there = sum(part.stat().st_size for path in states if (part := _part(folder / path)).exists())
        disk.check_space(str(folder), size - there, "The annotation files")
        with show_progress("annotation files", len(states), size) as progress:
            progress.advance(0, there)
            cache = _Cache(host, config, folder, states, progress)
            await asyncio.gather(*(cache.fetch(path) for path in states))


async def look_at(
    host: Host, config: DownloadConfig, paths: Collection[str], lenient: bool = False
) -> dict[str, FileState]:
    """Return the state of files at their host.

    Args:
        host: The host.
        config: The limits.
        paths: The files.
        lenient: Leave out files that the host lacks.

    Raises:
        DataError: The host lacks a file, or refuses it.
        TransientError: The host does not answer.
    """
    patience = Patience(host.name, config, asyncio.Semaphore(AT_ONCE))
    states = {}

    async def look(path: str) -> None:
        async def request() -> bytes:
            states[path] = await host.look(path)
            return b""

        try:
            await patience.ask(request, _as_it_is)
        except FetchError as error:
            if not (lenient and error.reason in HOPELESS):
                raise _stage_error(host, path, error) from error
            log.info("%s has no %s; this optional table is left out.", host.name, path)

    await asyncio.gather(*map(look, paths))
    return {path: states[path] for path in paths if path in states}


async def _as_it_is(answer: bytes) -> bytes:
    return answer


class _Cache:
    """Fetches files into the cache."""

    def __init__(
        self, host: Host, config: DownloadConfig, folder: Path, states: Mapping[str, FileState], progress: Progress
    ) -> None:
        self.host, self.config, self.folder, self.states, self.progress = host, config, folder, states, progress
        self.slots = asyncio.Semaphore(AT_ONCE)
        self.patience = Patience(host.name, config, self.slots)

    async def fetch(self, path: str) -> None:
        """Fetch a file; as long as bytes arrive, a lost connection does not count as a failed try."""
        tries, most = 0, self._arrived(path)
        while True:
            try:
                async with self.slots:
                    await self._continue(path)
                self.progress.advance(1, 0)
                return
            except FetchError as error:
                arrived = self._arrived(path)
                tries, most = (1, arrived) if arrived > most else (tries + 1, most)
                wait = max(self.patience.backoff(tries), error.wait or 0)
                if error.reason in HOPELESS or tries > self.config.retries or wait > self.config.max_wait_seconds:
                    raise _stage_error(self.host, path, error) from error
                log.warning("%s/%s: %s; trying again", self.host.name, path, error)
                await asyncio.sleep(wait)

    def _arrived(self, path: str) -> int:
        part = _part(self.folder / path)
        return part.stat().st_size if part.exists() else 0

    async def _continue(self, path: str) -> None:
        """Fetch the rest of a file, check the whole, and give it its name."""
        file = self.folder / path
        part = _part(file)
        part.parent.mkdir(parents=True, exist_ok=True)
        known, expected = _known(file), self.states[path]
        version = known.version if known and known.version == expected.version else None
        start = self._arrived(path) if version else 0
        if known and start and expected.size is not None and start >= expected.size:  # killed before the check
            await self._finish(path, known)
            return
        async with self.host.open(path, start, version) as opened:
            state = CachedFile(url=self.host.name, **vars(opened.state))
            storage.write_json(str(_note(file)), state.json_values())
            if opened.start != start:
                self.progress.advance(0, opened.start - start)
            with part.open("r+b" if opened.start else "wb") as output:
                output.truncate(opened.start)
                output.seek(opened.start)
                async for block in opened.blocks:
                    _write(output, block)
                    self.progress.advance(0, len(block))
        await self._finish(path, state)

    async def _finish(self, path: str, state: CachedFile) -> None:
        file = self.folder / path
        part = _part(file)
        size = part.stat().st_size
        expected = self.states[path].size
        if expected is not None and size != expected:
            if size > expected or state.size != expected:  # what has arrived is no beginning of the file
                part.unlink()
            raise FetchError(Reason.CONNECTION, f"{size:,} of {expected:,} bytes arrived")
        if state.md5 and (found := await asyncio.to_thread(_md5, part)) != state.md5:
            part.unlink()
            self.progress.advance(0, -size)
            raise FetchError(Reason.CHANGED, f"its MD5 is {found}, but the host states {state.md5}")
        storage.write_json(str(_note(file)), state.model_copy(update={"size": size}).json_values())
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(file)


def _write(output: IO[bytes], block: bytes) -> None:
    try:
        output.write(block)
    except OSError as error:  # which must not pass for a fault of the connection
        raise ResourceError(f"{output.name} cannot be written: {error}", "Free some space and start again.") from error


def _stage_error(host: Host, path: str, error: FetchError) -> StageError:
    message = f"{host.name}/{path} cannot be fetched: {error}."
    if error.reason in HOPELESS:
        return DataError(message, "Correct annotations_url: it needs the official paths below it.")
    return TransientError(message, "Start the download again: it continues where it stopped.")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let only one process at a time write into the cache."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("Another download is fetching annotation files into %s; waiting for it.", folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _part(file: Path) -> Path:
    return file.with_name(f"{file.name}.part")


def _note(file: Path) -> Path:
    return file.with_name(f"{file.name}.json")


def _known(file: Path) -> CachedFile | None:
    try:
        return CachedFile.model_validate_json(_note(file).read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _md5(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "md5").hexdigest()
