"""Keep TensorFlow's start lines, about processors and graphics drivers, out of what commands and tasks print.

`TF_CPP_MIN_LOG_LEVEL` does not reach them: TensorFlow writes them to standard error before its logging has started.
Set that variable to 0 to see them.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

LEVEL = "TF_CPP_MIN_LOG_LEVEL"
START_LINES = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog\(\)|[IW]\d{4} \d\d:\d\d:\d\d.*\.cc:\d+\]"
    rb"|E\d{4} \d\d:\d\d:\d\d.*\.cc:\d+\] Unable to register cu"
)


class QuietStart(importlib.abc.MetaPathFinder):
    """Finds TensorFlow as the other finders do, and makes its import quiet."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of TensorFlow; None for any other module."""
        if fullname != "tensorflow":
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next((found for each in others if (found := each.find_spec(fullname, path, target))), None)
        if spec and spec.loader:
            execute = spec.loader.exec_module

            def execute_quietly(module: ModuleType) -> None:
                with without_start_lines():
                    execute(module)

            spec.loader.exec_module = execute_quietly  # type: ignore[method-assign]
        return spec


def install() -> None:
    """Make the import of TensorFlow quiet in this process, and its later messages, unless the environment says so."""
    if os.environ.setdefault(LEVEL, "3") in ("2", "3") and not any(isinstance(f, QuietStart) for f in sys.meta_path):
        sys.meta_path.insert(0, QuietStart())


@contextlib.contextmanager
def without_start_lines() -> Iterator[None]:
    """Hold back what is written to standard error, also by C code, and write it at the end without the start lines."""
    try:
        own = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(own, 2)
            os.close(own)
            file.seek(0)
            for line in file:
                if not START_LINES.match(line):
                    os.write(2, line)
