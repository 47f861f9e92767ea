"""Programs that `make setup` installs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

UV = Path(__file__).parents[2] / ".tools" / "uv" / "bin" / "uv"


def uv() -> Path:
    """Return the program uv; skip the test where there is none."""
    found = UV if UV.exists() else shutil.which("uv")
    if found is None:
        pytest.skip("uv is not installed: run make setup")
    return Path(found)
