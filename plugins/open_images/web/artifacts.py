"""Files of a run's attempts for the web server: only those that a manifest names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from ml import storage
from ml.workflow.manifest import Manifest

# What a browser may show. Everything else is a download.
MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "jpg": "image/jpeg",
    "json": "application/json",
    "md": "text/plain; charset=utf-8",
    "png": "image/png",
    "svg": "image/svg+xml",
}
LARGEST = 256 << 20  # bytes; larger files must be read from storage, not through Airflow's API server
BLOCK = 256 << 10


@dataclass(frozen=True)
class Artifact:
    """One file of an attempt.

    Attributes:
        uri: Its address in the storage.
        bytes: Its size.
        media_type: Its content type.
        shown: Whether a browser may show it.
        etag: Changes whenever the content does.
    """

    uri: str
    bytes: int
    media_type: str
    shown: bool
    etag: str

    def read(self) -> Iterator[bytes]:
        """Yield the content, block by block."""
        with storage.open_read(self.uri) as file:
            while block := file.read(BLOCK):
                yield block


def find_artifact(root: str, manifest: Manifest, path: str) -> Artifact | None:
    """Return a file of an attempt, or None if the manifest does not name it.

    Return None also if the file is missing, if its size differs from the manifest's, or if its path or a symbolic link
    leads outside the storage root.

    Args:
        root: The storage root.
        manifest: The manifest of the attempt.
        path: The file's path as the manifest names it.
    """
    named = {file.path: file.bytes for file in manifest.files}
    if path not in named or not _is_plain(path):
        return None
    uri = storage.join(manifest.uri, path)
    if not _is_below(uri, root) or _size(uri) != named[path]:
        return None
    suffix = path.rpartition(".")[2]
    etag = hashlib.sha256(uri.encode()).hexdigest()[:32]  # an attempt's files never change
    media_type = MEDIA_TYPES.get(suffix, "application/octet-stream")
    return Artifact(uri, named[path], media_type, suffix in MEDIA_TYPES, f'"{etag}"')


def _is_plain(path: str) -> bool:
    """Return whether a path only descends, on any file system."""
    return not any(part in ("", ".", "..") for part in path.split("/")) and not set("\\\0") & set(path)


def _is_below(uri: str, root: str) -> bool:
    """Return whether a file is below a root after following symbolic links, which only local files have."""
    local, local_root = storage.local_path(uri), storage.local_path(root)
    if local is None or local_root is None:
        return local is local_root
    return local.resolve().is_relative_to(local_root.resolve())


def _size(uri: str) -> int | None:
    fs, path = storage.filesystem(uri)
    try:
        info = fs.info(path)
    except OSError:
        return None
    return int(info["size"]) if info["type"] == "file" else None
