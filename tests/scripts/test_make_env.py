"""Tests of `make env`."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

import make_env

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = "# Comment\nA_PASSWORD=\nA_FERNET_KEY=\n\n# OPTIONAL=1\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / ".env.example").write_text(EXAMPLE)
    return tmp_path


def read(project: Path) -> dict[str, str]:
    lines = (project / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if re.match(r"\w+=", line))


def test_each_empty_value_gets_a_secret_of_its_kind(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_env.main(project)
    values = read(project)
    Fernet(values["A_FERNET_KEY"])
    assert re.fullmatch(r"[\w-]{43}", values["A_PASSWORD"])
    said = capsys.readouterr().out
    assert "generated A_PASSWORD, A_FERNET_KEY." in said
    assert not any(value in said for value in values.values())
    text = (project / ".env").read_text()
    assert text.startswith("# Comment\n")
    assert text.endswith("\n\n# OPTIONAL=1\n")


def test_two_projects_have_different_secrets(project: Path) -> None:
    make_env.main(project)
    first = read(project)
    (project / ".env").unlink()
    make_env.main(project)
    assert not set(first.values()) & set(read(project).values())


def test_only_the_owner_can_read_the_file(project: Path) -> None:
    make_env.main(project)
    assert (project / ".env").stat().st_mode & 0o777 == 0o600
    (project / ".env").chmod(0o644)
    make_env.main(project)
    assert (project / ".env").stat().st_mode & 0o777 == 0o600


def test_a_second_run_changes_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_env.main(project)
    first = (project / ".env").read_bytes()
    capsys.readouterr()
    make_env.main(project)
    assert (project / ".env").read_bytes() == first
    assert "nothing was changed" in capsys.readouterr().out


def test_what_is_set_is_kept_and_what_is_new_is_added(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / ".env").write_text('# mine\nA_PASSWORD=a=b c\nOPTIONAL=2\nOWN=""\n')
    make_env.main(project)
    values = read(project)
    assert (values["A_PASSWORD"], values["OPTIONAL"]) == ("a=b c", "2")
    assert re.fullmatch(r"[\w-]{43}", values["OWN"])
    Fernet(values["A_FERNET_KEY"])
    assert (project / ".env").read_text().startswith("# mine\nA_PASSWORD=a=b c\n")
    assert "Every other line was kept" in capsys.readouterr().out


def test_the_target_runs_without_the_environment(project: Path) -> None:
    (project / "scripts").mkdir()
    for name in ("Makefile", "scripts/make_env.py"):
        (project / name).write_bytes((ROOT / name).read_bytes())
    done = subprocess.run(["make", "-C", project, "env"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(read(project)) == {"A_PASSWORD", "A_FERNET_KEY"}
    assert not (project / ".venv").exists()


def test_the_example_is_filled_in_whole() -> None:
    filled = make_env.fill((ROOT / ".env.example").read_text().splitlines())
    assert {"POSTGRES_PASSWORD", "AIRFLOW_FERNET_KEY", "S3_SECRET_KEY"} <= set(filled.names)
    assert not [line for line in filled.lines if re.fullmatch(r"\w+=", line)]
