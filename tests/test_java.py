"""Tests of `ml.java`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ml import java
from ml.errors import ConfigurationError


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without Java, whose environment is not this project's."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr("sys.prefix", str(tmp_path / "project" / ".venv"))
    java._find.cache_clear()


def install(home: Path, version: str, reported_home: Path | None = None) -> Path:
    """Install a script as `java` that reports the version, and return its home."""
    program = home / "bin" / "java"
    program.parent.mkdir(parents=True)
    lines = [f'openjdk version "{version}" 2025-04-15', "OpenJDK Runtime Environment"]
    if reported_home:
        lines.insert(0, f"    java.home = {reported_home}")
    echoes = "\n".join(f"echo '{line}' >&2" for line in lines)
    program.write_text(f"#!/bin/sh\necho called >> '{home}/calls'\n{echoes}\n")
    program.chmod(0o755)
    return home


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('java version "1.8.0_292"', 8),
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "25" 2025-09-16', 25),
        ('openjdk version "21-ea" 2023-09-19', 21),
        ("java: command not found", None),
    ],
)
def test_version_is_read(text: str, version: int | None) -> None:
    assert java.parse_version(text) == version


def test_java_home_wins_over_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(install(tmp_path / "named java", "21.0.1")))
    monkeypatch.setenv("PATH", str(install(tmp_path / "other", "17.0.15") / "bin"))
    assert java.java_home() == tmp_path / "named java"


def test_java_on_path_is_followed_to_its_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = install(tmp_path / "jdk", "17.0.15")
    links = tmp_path / "links"
    links.mkdir()
    (links / "java").symlink_to(home / "bin" / "java")
    monkeypatch.setenv("PATH", str(links))
    assert java.java_home() == home


def test_shim_on_path_is_asked_for_its_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shims = install(tmp_path / "shims", "21.0.1", reported_home=tmp_path / "jdk-21")
    monkeypatch.setenv("PATH", str(shims / "bin"))
    assert java.java_home() == tmp_path / "jdk-21"


@pytest.mark.parametrize("version", [None, "11.0.2"])
def test_fetched_java_is_used_when_path_has_none_that_will_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str | None
) -> None:
    if version:
        monkeypatch.setenv("PATH", str(install(tmp_path / "old", version) / "bin"))
    fetched = install(tmp_path / "project" / ".tools" / "java", "25")
    assert java.java_home() == fetched


def test_missing_java_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"JAVA_HOME is not set and PATH has no `java`") as caught:
        java.java_home()
    assert "make setup" in caught.value.advice


def test_old_java_on_path_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(install(tmp_path / "old", "1.8.0_292") / "bin"))
    with pytest.raises(ConfigurationError, match="`java` on PATH is Java 8"):
        java.java_home()


@pytest.mark.parametrize(
    ("version", "message"), [(None, "which has no bin/java"), ("11.0.2", "which is Java 11"), ("?", "does not run")]
)
def test_java_home_that_will_not_do_is_not_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str | None, message: str
) -> None:
    named = tmp_path / "named"
    if version:
        install(named, version)
    monkeypatch.setenv("JAVA_HOME", str(named))
    monkeypatch.setenv("PATH", str(install(tmp_path / "good", "17.0.15") / "bin"))
    with pytest.raises(ConfigurationError, match=message) as caught:
        java.java_home()
    assert str(named) in str(caught.value)


def test_java_is_asked_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = install(tmp_path / "jdk", "17.0.15")
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert java.java_home() == java.java_home()
    assert (home / "calls").read_text().count("called") == 1


def test_this_machine_has_a_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    java._find.cache_clear()
    assert os.access(java.java_home() / "bin" / "java", os.X_OK)
