"""The photographs that the command `predict` is given: files, and folders that it searches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ml.errors import ConfigurationError, DataError
from ml.prediction.listing import SUFFIXES, escaped


class Given(NamedTuple):
    """A photograph to read, and the folder below the output folder for its copy."""

    path: Path
    below: Path


State = tuple[int, int]  # of a file: size in bytes, and time of its last change in nanoseconds


def find_photographs(given: list[Path], out: Path) -> Iterator[Given]:
    """Yield the photographs in files and folders; skip hidden files and those in `out` when a folder is searched.

    A folder that cannot be read is yielded as a photograph, and whoever reads it reports why.
    """
    for path in given:
        if not os.path.isdir(path):
            yield Given(path, Path())
            continue
        unreadable: list[OSError] = []
        for folder, folders, files in os.walk(path, onerror=unreadable.append):
            folders[:] = sorted(
                name for name in folders if name[0] != "." and Path(folder, name).resolve() != out.resolve()
            )
            for name in sorted(files):
                if name[0] != "." and name.lower().endswith(SUFFIXES):
                    yield Given(Path(folder, name), Path(folder).relative_to(path))
        yield from (Given(Path(error.filename), Path()) for error in unreadable)


def check_given(given: list[Path], out: Path) -> None:
    """Check the arguments before anything that takes time.

    Raises:
        DataError: A file or folder does not exist or is not accessible, or a folder holds no photograph.
        ConfigurationError: `out` is a file, or holds photographs that copies could overwrite.
    """
    missing = [f"{escaped(path)}: {fault}" for path in given if (fault := _fault(path))]
    folders = [path for path in given if os.path.isdir(path)]
    empty = [path for path in folders if next(find_photographs([path], out), None) is None]
    faults = missing + [f"{escaped(path)}: holds no JPEG or PNG file" for path in empty]
    if faults:
        raise DataError(f"{'; '.join(faults)}.", "Nothing was written.")
    _check_out(folders, out)


def check_watched(given: list[Path], out: Path) -> None:
    """Check the arguments of `--watch`: existing folders, which may be empty.

    Raises:
        ConfigurationError: One is not a folder, `out` is a file, or it holds photographs that copies could overwrite.
    """
    if others := [escaped(path) for path in given if not os.path.isdir(path)]:
        raise ConfigurationError(f"{', '.join(others)}: there is no such folder.", "--watch takes existing folders.")
    _check_out(given, out)


def _fault(path: Path) -> str | None:
    """Return why a path cannot be used; None if it can."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return "there is no such file"
    except OSError as error:  # it may be of a folder above, or the name is too long
        return f"cannot be read ({error.strerror})"
    return None


def _check_out(folders: list[Path], out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise ConfigurationError(
            f"{out} is a file, not a folder.", "Name another folder for the annotated photographs."
        )
    for path in folders:
        if path.resolve().is_relative_to(out.resolve()):
            raise ConfigurationError(
                f"{out} is or holds the folder {path}, whose photographs the copies could overwrite.",
                "Name another folder for the annotated photographs.",
            )


def arrivals(folders: list[Path], out: Path, wait: Callable[[], None]) -> Iterator[list[Given]]:
    """Yield the photographs in folders, and then, without end, those that appear or change.

    A photograph is yielded when two looks in a row find it the same, so that it has been written to its end.

    Args:
        folders: The folders to search, with their subfolders.
        out: A folder that is left out.
        wait: Waits between two looks.

    Yields:
        The photographs of each look; often none.
    """
    done: dict[Path, State] = {}
    before: dict[Path, State] = {}
    while True:
        found = {each: state for each in find_photographs(folders, out) if (state := _state(each.path))}
        now = {each.path: state for each, state in found.items()}
        ready = [each for each in found if before.get(each.path) == now[each.path] != done.get(each.path)]
        done |= {each.path: now[each.path] for each in ready}
        before = now
        yield ready
        wait()


def _state(path: Path) -> State | None:
    try:
        stat = path.stat()
    except OSError:  # removed since
        return None
    return stat.st_size, stat.st_mtime_ns
