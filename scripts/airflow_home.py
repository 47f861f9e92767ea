"""Keep Airflow's secrets and the record of its running components in `var/airflow`."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from ml.workflow.supervision import find_process, start_of

USER = "admin"
CONFIG = Path(__file__).resolve().parent / "local_airflow_config"


def airflow_home(root: Path) -> Path:
    """Return the folder of Airflow's database, logs and secrets, which other users cannot read."""
    home = root / "var" / "airflow"
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    with contextlib.suppress(FileExistsError):  # where Airflow looks for airflow_local_settings.py
        (home / "config").symlink_to(CONFIG)
    return home


@contextlib.contextmanager
def only_one_at_a_time(root: Path) -> Iterator[None]:
    """Wait until no other `up` or `down` of this root is running."""
    with (airflow_home(root) / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Secrets:
    """The secrets that Airflow's components share."""

    fernet_key: str = field(default_factory=lambda: base64.urlsafe_b64encode(os.urandom(32)).decode())
    jwt_secret: str = field(default_factory=lambda: secrets.token_urlsafe(64))
    api_secret_key: str = field(default_factory=lambda: secrets.token_urlsafe(32))


def kept_secrets(root: Path) -> Secrets:
    """Read this machine's secrets; the first call creates them."""
    path = _write_once(airflow_home(root) / "secrets.json", json.dumps(asdict(Secrets())))
    return Secrets(**json.loads(path.read_text()))


def passwords_file(root: Path) -> Path:
    """Return the password file of Airflow's simple auth manager, written here so that no log shows the password."""
    return _write_once(airflow_home(root) / "passwords.json", json.dumps({USER: secrets.token_urlsafe(12)}))


def password(root: Path) -> str:
    """Read the password of `USER`."""
    return str(json.loads(passwords_file(root).read_text())[USER])


def _write_once(path: Path, text: str) -> Path:
    """Write a file that only this user can read, unless it exists; if two processes do so at once, one wins."""
    if not path.exists():
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
        fresh.unlink()
    return path


@dataclass(frozen=True)
class Component:
    """A component of Airflow, identified by its start time too, because process ids are reused."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> Component:
        """Describe a process that was just started."""
        return cls(pid, start_of(psutil.Process(pid)))

    def process(self) -> psutil.Process | None:
        """Return the process, or None if it has ended."""
        return find_process(self.pid, self.started)


@dataclass(frozen=True)
class Record:
    """The Airflow that `up` started last.

    Attributes:
        port: The API server's port.
        mark: A value in the environment of all its processes.
        components: The components by name, in the order of their start.
    """

    port: int
    mark: str
    components: dict[str, Component]

    def ended(self) -> list[str]:
        """List the components that are no longer running."""
        return [name for name, component in self.components.items() if component.process() is None]


def recorded(root: Path) -> Record | None:
    """Read the record of the Airflow that was started last; return None if there is none."""
    try:
        content = json.loads(_record_path(root).read_text())
    except (OSError, ValueError):
        return None
    components = {name: Component(**component) for name, component in content.pop("components").items()}
    return Record(**content, components=components)


def write_record(root: Path, record: Record) -> None:
    """Write a record for `recorded` to read."""
    _record_path(root).write_text(json.dumps(asdict(record), indent=2))


def remove_record(root: Path) -> None:
    """Remove the record."""
    _record_path(root).unlink(missing_ok=True)


def _record_path(root: Path) -> Path:
    return root / "var" / "airflow" / "standalone.json"
