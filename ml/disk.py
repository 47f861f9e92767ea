"""What only a local disk has: free space, and folders that appear as a whole."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ml import storage
from ml.errors import ConfigurationError, ResourceError

log = logging.getLogger(__name__)


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder next to the local folder `out`, and move it to `out` on success.

    A process that is killed leaves the temporary folder behind, and nothing in `out`.

    Raises:
        ConfigurationError: `out` is a file, or a folder that is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigurationError(f"{out} exists and is not an empty folder.", "Choose another folder, or remove it.")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial-{secrets.token_hex(4)}")
    partial.mkdir()
    try:
        yield partial
        os.replace(partial, out)  # replaces an empty folder, fails if it was filled meanwhile
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def free_space(uri: str) -> int | None:
    """Return the free bytes of the local disk that a folder is on or will be on; None if it is not local."""
    path = storage.local_path(uri)
    if path is None:
        return None
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def check_space(uri: str, needed: int, what: str) -> None:
    """Log the space that an output needs, and check that the local disk has it.

    Raises:
        ResourceError: The disk has too little free space.
    """
    log.info("%s need about %s below %s", what, _readable(needed), uri)
    free = free_space(uri)
    if free is not None and free < needed:
        raise ResourceError(
            f"{what} need about {_readable(needed)}, but the disk of {uri} has {_readable(free)} free.",
            "Free some space, or choose a folder on a larger disk.",
        )


def _readable(size: int) -> str:
    """Return a number of bytes as people write it."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
