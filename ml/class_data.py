"""The class-data archive: Spark's Java classes, parsed and verified once, so that jobs on this machine start sooner.

`make setup` makes it with `spark_jobs.class_data`. A JVM that does not accept it, for example because its class path
differs, starts without it.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from importlib import metadata, util
from pathlib import Path

SUBMIT_OPTIONS = "SPARK_SUBMIT_OPTS"  # of the JVM that spark-submit starts; no executor elsewhere gets them
LAUNCHER_OPTIONS = "SPARK_LAUNCHER_OPTS"  # of the JVM that only puts that one's command line together
# Without this, a JVM that does not accept the archive says so on its standard output.
SILENT = "-Xlog:cds=off,cds+dynamic=off,class+path=off"
# Rows go through Python's workers, so the JVM only plans and hands on bytes. Its second compiler takes a sixth of the
# time even of the jobs on the whole data set.
FIRST_COMPILER = "-XX:TieredStopAtLevel=1"


def folder() -> Path:
    """Return the folder of the archives, beside the environment."""
    return Path(sys.prefix).parent / ".tools" / "class-data"


def archive_path(java_home: Path) -> Path:
    """Return the path of the archive for a Java and the installed pyspark; it may not exist.

    Its name has pyspark's version and a digest of what the JVM compares: its own program and Spark's jars, by size and
    time of change.
    """
    spec = util.find_spec("pyspark")
    jars = Path(spec.origin).parent / "jars" if spec and spec.origin else Path()
    digest = hashlib.sha256()
    for file in [(java_home / "bin" / "java").resolve(), *sorted(jars.glob("*.jar"))]:
        stat = file.stat()
        digest.update(f"{file} {stat.st_size} {int(stat.st_mtime)}\n".encode())
    return folder() / f"pyspark-{metadata.version('pyspark')}-{digest.hexdigest()[:12]}.jsa"


def submit_environment(java_home: Path, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment variables that make spark-submit start quickly on this machine.

    They choose Java's first compiler, and the archive if there is one.

    Args:
        java_home: The Java that spark-submit uses.
        environment: The variables so far; options that they hold stay.
    """
    options = dict.fromkeys((LAUNCHER_OPTIONS, SUBMIT_OPTIONS), FIRST_COMPILER)
    archive = archive_path(java_home)
    if archive.is_file():
        options[SUBMIT_OPTIONS] += f" -Xshare:auto {quoted(f'-XX:SharedArchiveFile={archive}')} {SILENT}"
    return {name: _with_options(environment.get(name, ""), added) for name, added in options.items()}


def quoted(option: str) -> str:
    """Return a JVM option as Spark's launcher, which splits options at spaces, takes it for one."""
    return f'"{option}"' if " " in option else option


def _with_options(known: str, added: str) -> str:
    """Add options before the known ones, which win, unless they hold them already."""
    return known if added in known else f"{added} {known}".strip()
