"""The servers' folders, which lie where every user can read them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """An empty folder outside of pytest's own, which only root can enter."""
    made = Path(tempfile.mkdtemp(prefix="stack-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)
