"""Read a registered model from MLflow's local database without loading MLflow, which takes seconds.

The tables are MLflow's own. A test compares what is read with what MLflow's client says, and a database with other
tables is left to the client. Everything that changes the registry goes through the client.
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path

ALIASES = "SELECT alias, version FROM registered_model_aliases WHERE name = ? AND workspace = 'default'"
VERSIONS = (
    "SELECT version FROM model_versions WHERE name = ? AND workspace = 'default' "
    "AND current_stage != 'Deleted_Internal' ORDER BY version"
)
TAGS = "SELECT version, key, value FROM model_version_tags WHERE name = ? AND workspace = 'default'"
WAIT_SECONDS = 20.0  # for a process that writes


@dataclass(frozen=True)
class Registered:
    """A registered model.

    Attributes:
        aliases: The number of the version that each alias names.
        tags: The tags of each version by its number, in order.
    """

    aliases: dict[str, int]
    tags: dict[int, dict[str, str]]


def read_registered(database: Path, model: str) -> Registered | None:
    """Return what a local database says of a registered model.

    Args:
        database: MLflow's SQLite file, which must exist.
        model: The model's name.

    Returns:
        The model, without aliases and versions if it is not registered; None if the database cannot be read in this
        way, because it is damaged or another version of MLflow made it.
    """
    try:
        uri = f"{database.absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=WAIT_SECONDS)) as connection:
            connection.execute("BEGIN")  # so that the three queries see the same state
            aliases = {alias: int(number) for alias, number in connection.execute(ALIASES, [model])}
            tags: dict[int, dict[str, str]] = {int(number): {} for (number,) in connection.execute(VERSIONS, [model])}
            for number, key, value in connection.execute(TAGS, [model]):
                if number in tags:  # the tags of a version that was deleted stay
                    tags[number][key] = value
    except sqlite3.Error:
        return None
    return Registered(aliases, tags)
