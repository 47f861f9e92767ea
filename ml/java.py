"""Finds the Java for Spark: version 17 or later.

This module imports only the standard library, because `scripts/setup.py` uses it before anything is installed.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from ml.errors import ConfigurationError

MINIMUM = 17  # Spark 4
ADVICE = (
    f"Install Java {MINIMUM} or later and put it on PATH, or set JAVA_HOME to its folder. `make setup` downloads Java "
    "if JAVA_HOME is unset and no suitable Java is on PATH."
)


class Java(NamedTuple):
    """The version and home of a `java` program."""

    version: int
    home: Path


def java_home() -> Path:
    """Find the folder that Spark's `JAVA_HOME` must name.

    The order is `JAVA_HOME`, `java` on PATH, the Java that `make setup` downloaded. A `JAVA_HOME` that is too old is
    an error, because Spark's scripts would use it.

    Returns:
        A folder with `bin/java`, of Java 17 or later.

    Raises:
        ConfigurationError: There is no such Java. The message says what was found.
    """
    fetched = Path(sys.prefix).parent / ".tools" / "java"
    return _find(os.environ.get("JAVA_HOME", ""), os.environ.get("PATH", ""), fetched)


def system_java(java_home_variable: str, path: str) -> Java | None:
    """Find a Java 17 or later that is installed on the machine.

    Args:
        java_home_variable: The value of `JAVA_HOME`, empty if it is not set.
        path: The value of `PATH`.

    Returns:
        The Java, or None if `JAVA_HOME` is not set and PATH has no suitable Java.

    Raises:
        ConfigurationError: `JAVA_HOME` is set to something unsuitable.
    """
    if java_home_variable:
        home = Path(java_home_variable)
        named = f"JAVA_HOME is {java_home_variable},"
        if not (home / "bin" / "java").is_file():
            raise ConfigurationError(f"{named} which has no bin/java.", ADVICE)
        java = ask(home / "bin" / "java")
        if java is None:
            raise ConfigurationError(f"{named} but its bin/java does not run.", ADVICE)
        if java.version < MINIMUM:
            raise ConfigurationError(f"{named} which is Java {java.version}; Spark needs {MINIMUM} or later.", ADVICE)
        return Java(java.version, home)
    java = _on_path(path)
    return java if java and java.version >= MINIMUM else None


@functools.cache
def _find(java_home_variable: str, path: str, fetched: Path) -> Path:
    java = system_java(java_home_variable, path)
    if java:
        return java.home
    if os.access(fetched / "bin" / "java", os.X_OK):
        return fetched
    too_old = _on_path(path)
    found = f"`java` on PATH is Java {too_old.version}" if too_old else "PATH has no `java` that runs"
    raise ConfigurationError(f"Spark needs Java {MINIMUM} or later. JAVA_HOME is not set and {found}.", ADVICE)


def _on_path(path: str) -> Java | None:
    program = shutil.which("java", path=path)
    return ask(Path(program)) if program else None


def ask(program: Path) -> Java | None:
    """Run a `java` program to find its version and home.

    Following its symbolic links is not enough: a `java` on PATH may be a shim outside Java's folder.

    Returns:
        Version and home, or None if the program does not run or prints no version.
    """
    try:
        output = subprocess.run(
            [program, "-XshowSettings:properties", "-version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
            check=True,
        ).stderr
    except (OSError, subprocess.SubprocessError):
        return None
    version = parse_version(output)
    if version is None:
        return None
    home = re.search(r"^\s*java\.home = (.+)$", output, re.MULTILINE)
    return Java(version, Path(home[1].strip()) if home else program.resolve().parent.parent)


def parse_version(text: str) -> int | None:
    """Parse the feature version from the output of `java -version`.

    Example:
        >>> parse_version('openjdk version "17.0.15" 2025-04-15')
        17
        >>> parse_version('java version "1.8.0_292"')
        8
    """
    match = re.search(r'version "(\d+)(?:\.(\d+))?', text)
    if match is None:
        return None
    # Up to Java 8, the feature version is the second number: 1.8.
    return int(match[2]) if match[1] == "1" and match[2] else int(match[1])
