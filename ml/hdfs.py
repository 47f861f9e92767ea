"""Make files of HDFS, which `hdfs-native` opens, behave like those of other file systems."""

from __future__ import annotations

import io
import uuid
from contextlib import suppress
from typing import IO

import fsspec

PROTOCOL = "hdfs"
BUFFER_BYTES = 1 << 20


class _Readable(io.RawIOBase):
    """A file without the gaps of hdfs-native's: it can read into a buffer, and iterates over lines."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._file.seek(offset, whence)
        return self._file.tell()

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)


def open_read(fs: fsspec.AbstractFileSystem, path: str) -> io.BufferedReader:
    """Open a file for reading."""
    return io.BufferedReader(_Readable(fs.open(path, "rb")), BUFFER_BYTES)


def write_whole(fs: fsspec.AbstractFileSystem, path: str, data: bytes) -> None:
    """Write a file under a temporary name and rename it: others see a file from its creation on, still empty."""
    folder, _, name = path.rpartition("/")
    temporary = f"{folder}/.{name}.{uuid.uuid4().hex}.tmp"
    try:
        fs.pipe_file(temporary, data)
        fs.mv(temporary, path, overwrite=True)
    except BaseException:
        with suppress(Exception):  # the first error is the one to report
            fs.rm_file(temporary)
        raise
