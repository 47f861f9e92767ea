"""Fill in the secrets of docker-compose.yaml: `make env` writes `.env` from `.env.example`.

A value that is set is kept, and so is every other line. Only the standard library is needed, so that this runs on a
machine that has Docker and nothing else.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ASSIGNMENT = re.compile(r"(?P<name>[A-Za-z_]\w*)\s*=(?P<value>.*)")
KEY_BYTES = 32


@dataclass(frozen=True)
class Filled:
    """The lines of `.env`, and the variables that were given a value."""

    lines: list[str]
    names: list[str]


def main(root: Path) -> None:
    path = root / ".env"
    current = path.read_text().splitlines() if path.exists() else None
    example = (root / ".env.example").read_text().splitlines()
    filled = fill(example if current is None else complete(current, example))
    if filled.names or current is None:
        write(path, filled.lines)
    path.chmod(0o600)
    print(summary(filled.names, kept=current is not None))


def complete(current: list[str], example: list[str]) -> list[str]:
    """Return the lines of an existing `.env`, and after them the variables that a newer example has besides."""
    known = {match["name"] for match in map(ASSIGNMENT.fullmatch, current) if match}
    return current + [line for line in example if (match := ASSIGNMENT.fullmatch(line)) and match["name"] not in known]


def fill(lines: list[str]) -> Filled:
    """Give a random value to each variable that has none."""
    filled = Filled([], [])
    for line in lines:
        match = ASSIGNMENT.fullmatch(line)
        if match and match["value"].strip() in ("", '""', "''"):
            filled.names.append(match["name"])
            line = f"{match['name']}={secret(match['name'])}"
        filled.lines.append(line)
    return filled


def secret(name: str) -> str:
    """Return a new secret for a variable: a Fernet key, or letters, digits, `-` and `_`, which fit into an address."""
    if name.endswith("FERNET_KEY"):
        return base64.urlsafe_b64encode(os.urandom(KEY_BYTES)).decode()
    return secrets.token_urlsafe(KEY_BYTES)


def write(path: Path, lines: list[str]) -> None:
    """Replace the file at once; only its owner can read it, from its first byte on."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write("\n".join(lines) + "\n")
    fresh.replace(path)


def summary(names: list[str], *, kept: bool) -> str:
    if not names:
        return ".env has a value for each secret; nothing was changed."
    rest = " Every other line was kept." if kept else ""
    return f".env: generated {', '.join(names)}.{rest}\nKeep a copy of the file: the databases do not open without it."


if __name__ == "__main__":
    try:
        main(ROOT)
    except OSError as error:
        sys.exit(f"env: {error}")
