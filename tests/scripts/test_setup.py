"""The set-up: what makes it install, what makes it do nothing, and that it removes nothing."""

from __future__ import annotations

import ast
import json
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import setup
from setup import Parts

ROOT = Path(__file__).parents[2]
# What `make setup`, `demo`, `up`, `down`, `mlflow` and `doctor` run, besides the packages.
RUNTIME_SCRIPTS = ("airflow_environment", "airflow_home", "demo", "local_airflow", "mlflow_pages", "ports", "setup")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with Java on PATH and nothing installed; returns the commands of uv that were run."""
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    (tmp_path / "uv.lock").touch()
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "setup.py").touch()
    tools, python = tmp_path / ".tools", tmp_path / ".venv" / "bin" / "python"
    for name, path in {
        "ROOT": tmp_path,
        "TOOLS": tools,
        "STAMP": tools / "stamp.json",
        "CHOSEN": tools / "extras.json",
        "FETCHED_JAVA": tools / "java",
        "VENV_PYTHON": python,
        "RUNNING_AIRFLOW": tmp_path / "standalone.json",
    }.items():
        monkeypatch.setattr(setup, name, path)
    commands = []

    def follow(command, environment):
        commands.append([str(part) for part in command])
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()
        return 0

    def write_wrapper():
        java = tools / "java" / "bin" / "java"
        java.parent.mkdir(parents=True, exist_ok=True)
        java.touch()

    monkeypatch.setattr(setup, "follow", follow)
    monkeypatch.setattr(setup, "bootstrap_uv", lambda: None)
    monkeypatch.setattr(setup, "make_class_data", lambda: None)
    monkeypatch.setattr(setup, "write_java_wrapper", write_wrapper)
    monkeypatch.setattr(setup, "system_java", lambda named, path: "a Java")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.delenv("EXTRAS", raising=False)
    return commands


def run(monkeypatch, *arguments, **variables):
    """Run the set-up as `make` does."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["setup.py", *arguments])
        for name, value in variables.items():
            patch.setenv(name, value)
        setup.main()


def test_it_installs_once_and_removes_nothing(machine, monkeypatch):
    run(monkeypatch)
    run(monkeypatch)
    (command,) = machine
    assert "--inexact" in command


@pytest.mark.parametrize("fetched", [False, True])
def test_the_java_home_of_the_prepared_shell_installs_nothing(machine, monkeypatch, fetched):
    if fetched:  # then only the one that was fetched runs
        monkeypatch.setattr(setup, "system_java", lambda named, path: "a Java" if named else None)
    run(monkeypatch)
    assert ("java" in machine[0]) is fetched
    home = str(setup.FETCHED_JAVA) if fetched else "/usr/lib/jvm/java-17"
    for _ in range(2):
        run(monkeypatch, JAVA_HOME=home)
        run(monkeypatch)
    assert len(machine) == 1
    assert len(json.loads(setup.STAMP.read_text())["java"]) == 2


def test_a_java_that_is_gone_is_fetched(machine, monkeypatch):
    run(monkeypatch)
    monkeypatch.setattr(setup, "system_java", lambda named, path: None)
    run(monkeypatch, JAVA_HOME="/gone")
    assert "java" in machine[1]


def test_no_tool_of_development_is_installed_before_it_is_needed(machine, monkeypatch):
    run(monkeypatch)
    assert "--no-default-groups" in machine[0]
    assert "--group" not in machine[0]
    run(monkeypatch, "--group", "dev")
    assert machine[1][-2:] == ["--group", "dev"]
    run(monkeypatch)
    run(monkeypatch, "--group", "docs")  # dev holds it
    assert len(machine) == 2


def test_extras_add_up_and_stay(machine, monkeypatch):
    run(monkeypatch, EXTRAS="s3")
    run(monkeypatch, EXTRAS="gcs,azure")
    assert [machine[1][i + 1] for i, word in enumerate(machine[1]) if word == "--extra"] == ["azure", "gcs", "s3"]
    (setup.ROOT / "uv.lock").write_text("changed")
    run(monkeypatch, "--group", "docs")
    assert [word for word in machine[2] if word in ("azure", "gcs", "s3", "docs")] == ["docs", "azure", "gcs", "s3"]
    run(monkeypatch, EXTRAS="s3")
    assert len(machine) == 3


def test_an_extra_that_does_not_exist_is_refused_with_those_that_do(machine, monkeypatch):
    with pytest.raises(setup.SetupError, match=r"no extra swift\. The extras are: s3, gcs, azure, hdfs, gpu"):
        run(monkeypatch, EXTRAS="s3 swift")
    assert machine == []


def test_a_running_airflow_is_to_be_restarted_if_its_packages_are_replaced(machine, monkeypatch, capsys):
    components = {"scheduler": {"pid": 1, "started": 0.0}}
    setup.RUNNING_AIRFLOW.write_text(json.dumps({"port": 8080, "mark": "", "components": components}))
    run(monkeypatch)
    run(monkeypatch, EXTRAS="s3")
    assert "make down" not in capsys.readouterr().out
    (setup.ROOT / "uv.lock").write_text("changed")
    run(monkeypatch)
    assert "Restart it after the installation: make down" in capsys.readouterr().out


def test_a_set_up_that_was_broken_off_is_done_again(machine, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(setup, "follow", lambda command, environment: 1)
        with pytest.raises(setup.SetupError, match="could not install"):
            run(monkeypatch)
    run(monkeypatch)
    run(monkeypatch)
    assert len(machine) == 1


def test_the_installation_shows_its_progress_without_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    told = "Downloading tensorflow (590.3MiB)\\n + absl-py==2.1\\nPrepared 300 packages in 70s\\n"
    assert setup.follow([sys.executable, "-c", f"import sys; sys.stderr.write('{told}'); sys.exit(3)"], {}) == 3
    lines = [line.split(" s  ")[1] for line in capsys.readouterr().out.splitlines()]
    assert lines == ["Downloading tensorflow (590.3MiB)", "Prepared 300 packages in 70s"]


def test_parts_add_up():
    assert Parts(("s3",)) | Parts(("gcs", "s3"), ("dev",)) == Parts(("gcs", "s3"), ("dev",))


def locked(name, extras=()):
    """The locked packages that one needs, with it, and whatever they need."""
    packages = {p["name"]: p for p in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    found, waiting = set(), [(name, tuple(extras))]
    while waiting:
        name, extras = waiting.pop()
        package = packages[name]
        needed = [*package.get("dependencies", [])]
        needed += [each for extra in extras for each in package.get("optional-dependencies", {}).get(extra, [])]
        for each in needed:
            key = (each["name"], tuple(each.get("extra", ())))
            if key not in found:
                found.add(key)
                waiting.append(key)
    return {name for name, _ in found}


def test_what_runs_without_the_tools_of_development_imports_none_of_them():
    needed = locked("open-images-faces")
    files = [file for folder in ("ml", "spark_jobs", "plugins", "dags") for file in (ROOT / folder).rglob("*.py")]
    files += [ROOT / "scripts" / f"{name}.py" for name in RUNTIME_SCRIPTS]
    distributions = packages_distributions()
    missing = {}
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in {name.split(".")[0] for name in names} & set(distributions):
                owners = {owner.lower().replace("_", "-").replace(".", "-") for owner in distributions[name]}
                if not owners & (needed | {"open-images-faces"}):
                    missing.setdefault(name, set()).add(file.name)
    assert missing == {}
