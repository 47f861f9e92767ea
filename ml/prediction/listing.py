"""List the photographs below a folder or bucket, for bulk prediction."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from ml import storage
from ml.storage import modified

LISTING_ROWS = 50_000  # written at a time
LISTING_SCHEMA = pa.schema([("photo", pa.string()), ("bytes", pa.int64())])
SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Listed:
    """A photograph in a listing: its escaped path below the folder, its size in bytes, and its time or etag."""

    path: str
    bytes: int
    state: str


def escaped(path: str | os.PathLike[str]) -> str:
    r"""Return a path as text: bytes that are not UTF-8, as in old archives, become escapes such as `\xe9`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def unescaped(path: str) -> str:
    """Return the path that `escaped` was called with; try to open the escaped path first, which may be a real name."""
    raw = re.sub(rb"\\x([89a-f][0-9a-f])", lambda found: bytes.fromhex(found[1].decode()), os.fsencode(path))
    return os.fsdecode(raw)


def list_photographs(uri: str) -> Iterator[Listed]:
    """Yield all JPEG and PNG files below a folder or bucket, in no order; hidden files are left out."""
    fs, root = storage.filesystem(uri)
    if isinstance(fs, LocalFileSystem):
        for folder, folders, names in os.walk(root):
            folders[:] = [name for name in folders if name[0] != "."]
            for name in names:
                if _is_photograph(name):
                    path = os.path.join(folder, name)
                    # A broken link is listed, so that it is reported as absent.
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
    """Write a listing as a Parquet file (columns photo, bytes) in constant memory.

    Returns:
        The number of photographs, and a digest of their paths, sizes and times (or etags). The digest is the sum of the
        photographs' digests, so their order does not matter.
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
