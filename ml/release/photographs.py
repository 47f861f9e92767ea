"""The photographs of a release: list them and digest their state."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

from fsspec.implementations.local import LocalFileSystem

from ml import storage
from ml.release.layout import SUBSETS
from ml.release.release import Release
from ml.storage import modified


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
