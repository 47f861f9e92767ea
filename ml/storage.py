"""Read and write files by URI with fsspec, and translate URIs to Hadoop's schemes for Spark."""

from __future__ import annotations

import datetime
import errno
import gzip
import hashlib
import importlib.util
import io
import json
import logging
import os
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from ml import hdfs, object_store
from ml.errors import ConfigurationError

log = logging.getLogger(__name__)


PATTERN_CHARACTERS = "[]{}*?\\"  # which Hadoop's paths, and other libraries that read the storage root, give a meaning
HTTP = ("http://", "https://")
REFUSED = (errno.EINVAL, errno.EBUSY)  # what s3fs makes of the statuses 412 and 409 of a conditional write
# From fsspec's schemes to Hadoop's. Schemes with the same name on both sides need no entry.
HADOOP_SCHEMES = {"s3": "s3a", "gcs": "gs", "az": "abfss"}
# The packages that open schemes, and the project's extras that bring them.
CLIENTS = {"s3": ("s3fs", "s3"), "s3a": ("s3fs", "s3"), "hdfs": ("hdfs_native", "hdfs")}


def normalize(uri: str | os.PathLike[str]) -> str:
    """Return the URI without a trailing slash; a plain path becomes an absolute `file://` URI."""
    text = _stripped(str(uri)) or "/"
    if "://" in text:
        return text
    return "file://" + os.path.abspath(os.path.expanduser(text))


def _stripped(uri: str) -> str:
    """Return the URI or path without trailing slashes, but for the one that is the root itself."""
    scheme, separator, rest = uri.rpartition("://")
    return scheme + separator + (rest.rstrip("/") or rest[:1])


def join(uri: str, *parts: str) -> str:
    """Append path parts to a URI."""
    return "/".join([_stripped(uri).removesuffix("/"), *(part.strip("/") for part in parts)])


def filesystem(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the fsspec file system of a URI and the path in it.

    The listing cache is dropped, because Spark or another process may have written files since.

    Raises:
        ConfigurationError: The package that opens URIs of this scheme is not installed, or there is no such scheme.
        TransientError: The object store does not answer.
    """
    uri = normalize(uri)
    scheme = uri.partition("://")[0]
    package, extra = CLIENTS.get(scheme, ("fsspec", ""))
    if importlib.util.find_spec(package) is None:
        raise ConfigurationError(
            f"{uri}: the package {package.replace('_', '-')}, which opens {scheme}:// URIs, is not installed.",
            f"Install this project with its extra `{extra}`: make setup EXTRAS={extra}",
        )
    if extra == "s3" and (endpoint := os.environ.get(object_store.ENDPOINT)):
        object_store.check_endpoint(endpoint)
    try:
        fs, path = fsspec.core.url_to_fs(uri, **({"get_client": _http_client} if uri.startswith(HTTP) else {}))
    except (ValueError, ImportError) as error:  # of an unknown scheme, or of one whose package is missing
        raise ConfigurationError(
            f"{uri} cannot be opened: {error}.", "Correct the URI, or install that package."
        ) from error
    fs.invalidate_cache()
    return fs, path


async def _http_client(**arguments: Any) -> Any:
    from ml.hosts import same_host_session  # loads aiohttp, which few callers need

    return await same_host_session(**arguments)


def hadoop_uri(uri: str) -> str:
    """Return the URI with Hadoop's scheme, as Spark needs it: `s3a://` for `s3://`, for example."""
    scheme, _, rest = normalize(uri).partition("://")
    return f"{HADOOP_SCHEMES.get(scheme, scheme)}://{rest}"


def local_path(uri: str) -> Path | None:
    """Return the local path of a URI, or None if the URI is not on this machine's file system."""
    fs, path = filesystem(uri)
    return Path(path) if isinstance(fs, LocalFileSystem) else None


@contextmanager
def local_copy(uri: str) -> Iterator[Path]:
    """Yield a local path of the file: its own path if it is local, otherwise that of a temporary copy.

    Raises:
        FileNotFoundError: The file does not exist.
    """
    if path := local_path(uri):
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist")
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, uri.rpartition("/")[2])
        copy.write_bytes(read_bytes(uri))
        yield copy


def exists(uri: str) -> bool:
    """Return whether a file or a folder exists at the URI."""
    fs, path = filesystem(uri)
    return bool(fs.exists(path))


def read_bytes(uri: str) -> bytes:
    """Read the content of a file.

    Raises:
        FileNotFoundError: The file does not exist.
    """
    fs, path = filesystem(uri)
    return bytes(fs.cat_file(path))


def read_range(uri: str, start: int, end: int) -> bytes:
    """Read the bytes of a file from `start` up to `end`."""
    fs, path = filesystem(uri)
    return bytes(fs.cat_file(path, start=start, end=end))


def size(uri: str) -> int:
    """Return a file's size in bytes."""
    fs, path = filesystem(uri)
    return int(fs.size(path))


def open_read(uri: str) -> io.BufferedReader:
    """Open a file for reading; close it by `with`.

    Raises:
        FileNotFoundError: The file does not exist.
    """
    fs, path = filesystem(uri)
    return hdfs.open_read(fs, path) if fs.protocol == hdfs.PROTOCOL else cast(io.BufferedReader, fs.open(path, "rb"))


@contextmanager
def open_plain(uri: str) -> Iterator[IO[bytes]]:
    """Open a file to read its content; that of a `.gz` file is decompressed."""
    with open_read(uri) as file:
        if not uri.endswith(".gz"):
            yield file
            return
        with gzip.open(file) as content:
            yield cast(IO[bytes], content)


def read_json(uri: str) -> Any:
    """Read the value in a JSON file."""
    return json.loads(read_bytes(uri))


def file_digest(uri: str) -> str:
    """Return the SHA-256 of a file's content."""
    with open_read(uri) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def modified(info: dict[str, object]) -> str:
    """Return the ETag or the modification time in a file's `info`, whichever the file system provides."""
    names = ("ETag", "etag", "LastModified", "mtime", "modification_time")
    return str(next((info[name] for name in names if info.get(name)), None))


def write_bytes(uri: str, data: bytes, durable: bool = True) -> None:
    """Write a file completely or not at all: with a rename on a disk and on HDFS, with one PUT in an object store.

    Args:
        uri: The file.
        data: The content.
        durable: Wait until the disk has it, so that the file is whole even after a power failure.
    """
    fs, path = filesystem(uri)
    if fs.protocol == hdfs.PROTOCOL:
        hdfs.write_whole(fs, path, data)
        return
    if not isinstance(fs, LocalFileSystem):
        fs.pipe_file(path, data)
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def create_bytes(uri: str, data: bytes) -> bool:
    """Write a file unless there is one; of several processes that try at once, one succeeds.

    A local disk, HDFS and object stores with conditional writes (S3, Google Cloud Storage, Azure) ensure that. A store
    that ignores the condition may let several succeed. The file may be seen empty for a moment.

    Returns:
        Whether this call wrote the file.

    Raises:
        OSError: The file cannot be written.
    """
    fs, path = filesystem(uri)
    if isinstance(fs, LocalFileSystem):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    try:
        if isinstance(fs, LocalFileSystem):
            with Path(path).open("xb") as file:
                file.write(data)
        elif fs.protocol == hdfs.PROTOCOL:  # for `mode`, its client would look first and then overwrite
            with fs.open(path, "wb", overwrite=False) as file:
                file.write(data)
        else:
            fs.pipe_file(path, data, mode="create")
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno in REFUSED and fs.exists(path):
            return False
        raise
    return True


def write_json(uri: str, value: Any) -> None:
    """Write a JSON file completely or not at all."""
    write_bytes(uri, json.dumps(value, indent=2, sort_keys=True, allow_nan=False).encode() + b"\n")


def check_root(root: str) -> None:
    """Check that a storage root can be read by all libraries that do.

    Raises:
        ConfigurationError: Its path has a character that some of them take for a pattern.
    """
    if found := [character for character in PATTERN_CHARACTERS if character in root]:
        raise ConfigurationError(
            f"storage: the path {root} has the character {' and '.join(found)}, which Spark takes for a pattern.",
            "Choose a folder without any of " + " ".join(PATTERN_CHARACTERS) + ".",
        )


def list_folder(uri: str) -> dict[str, int]:
    """Return the size in bytes of every file directly in a folder by name; nothing if there is no such folder."""
    fs, path = filesystem(uri)
    try:
        found = fs.ls(path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    sizes = {}
    for info in found:
        if info["type"] != "directory":
            size = fs.size(info["name"]) if info["size"] is None else info["size"]  # not every listing tells it
            sizes[info["name"].rpartition("/")[2]] = int(size)
    return sizes


def list_files(uri: str) -> dict[str, int]:
    """Return the size in bytes of every file below the URI by relative path, without hidden and temporary files."""
    fs, path = filesystem(uri)
    if not fs.exists(path):
        return {}
    found = fs.find(path, detail=True)
    prefix = len(path.rstrip("/")) + 1
    sizes = {name[prefix:]: int(info["size"]) for name, info in sorted(found.items())}
    return {name: size for name, size in sizes.items() if not any(p[0] in "._" for p in name.split("/"))}


class Stat(NamedTuple):
    """A file's size, time and state.

    Attributes:
        bytes: Size in bytes.
        modified: Modification time in seconds since 1970; the current time if the file system does not provide it.
        state: A string that changes whenever the file is written.
    """

    bytes: int
    modified: float
    state: str


def survey(uri: str) -> dict[str, Stat]:
    """Return the `Stat` of every file below the URI by relative path, including hidden and temporary files."""
    fs, path = filesystem(uri)
    if not fs.exists(path):
        return {}
    prefix = len(path.rstrip("/")) + 1
    found = {}
    for name, info in fs.find(path, detail=True).items():
        modified = _modified(info)
        etag = info.get("ETag") or info.get("etag") or info.get("ino")
        found[name[prefix:]] = Stat(int(info["size"] or 0), modified, f"{info['size']} {modified} {etag}")
    return found


def _modified(info: dict[str, Any]) -> float:
    # File systems name it differently.
    if info.get("modification_time") is not None:
        return float(info["modification_time"]) / 1000  # HDFS counts milliseconds
    names = ("mtime", "LastModified", "last_modified", "updated", "created")
    value = next((info[name] for name in names if info.get(name) is not None), None)
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value)
    if isinstance(value, datetime.datetime):
        return value.timestamp()
    return time.time() if value is None else float(value)


def remove(uri: str) -> None:
    """Remove a file, or a folder and its content, if it exists."""
    fs, path = filesystem(uri)
    if fs.exists(path):
        fs.rm(path, recursive=True)
