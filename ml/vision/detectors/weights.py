"""Find the files of networks that installed packages bring, without importing the packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ml.errors import ConfigurationError


def package_file(package: str, name: str, distribution: str) -> Path:
    """Return the path of a file in a package's folder `data`.

    Importing the packages would import TensorFlow, which takes seconds.

    Args:
        package: The package as it is imported.
        name: The file's name.
        distribution: The package as it is installed.

    Raises:
        ConfigurationError: The package or its file is absent.
    """
    found = importlib.util.find_spec(package)
    folders = found.submodule_search_locations if found else None
    for folder in folders or ():
        if (path := Path(folder, "data", name)).is_file():
            return path
    raise ConfigurationError(
        f"The detector's file {name} is not installed.", f"Install {distribution}, or name another detector."
    )
