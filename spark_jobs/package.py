"""The code of `ml` and `spark_jobs` as one archive, for executors that have no copy of it, or an older one.

`python -m spark_jobs.package code.zip` writes it, for `spark-submit --py-files code.zip`. Airflow's tasks do so by
themselves.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import ml
import spark_jobs


@contextlib.contextmanager
def code_archive() -> Iterator[Path]:
    """Yield a zip archive of both packages, to pass as `py_files`; it is removed when the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        yield write_archive(Path(folder, "open_images.zip"))


def write_archive(out: Path) -> Path:
    """Write the archive and return its path."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for package in (ml, spark_jobs):
            root = Path(package.__path__[0])
            for file in sorted(root.rglob("*")):
                if file.is_file() and "__pycache__" not in file.parts:
                    archive.write(file, file.relative_to(root.parent))
    return out


if __name__ == "__main__":
    write_archive(Path(sys.argv[1]))
