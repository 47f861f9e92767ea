"""Servers that a test starts as processes of its own, on loopback, and ends again."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from support.airflow_root import alive, end, family, wait_for


def free_ports(count: int) -> list[int]:
    """Return ports of loopback on which nothing listens."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def listens(port: int) -> bool:
    """Return whether a process accepts connections on a port of loopback."""
    with socket.socket() as client:
        client.settimeout(2)
        return client.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Daemon:
    """A server's process.

    Attributes:
        name: For messages, and the name of its log.
        command: Program and arguments.
        environment: All of its variables.
        log: What it prints.
        ready: Whether it can be used.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    ready: Callable[[], object]
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def pid(self) -> int:
        """Its process id; it leads a session of its own."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it is ready."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, env=dict(self.environment), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

        def ready() -> bool:
            assert self._process is not None
            if (code := self._process.poll()) is not None:
                raise AssertionError(f"{self.name} ended with {code}:\n{self.tail()}")
            return bool(self.ready())

        wait_for(f"{self.name} ({self.log})", ready, 180)

    def kill(self) -> None:
        """Kill it and all processes that it started."""
        if self._process is not None:
            end(family(self.pid))
            self._process.wait(timeout=20)

    def running(self) -> bool:
        """Return whether its process lives."""
        return bool(self._process and alive(family(self.pid)))

    def tail(self, lines: int = 40) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


@contextlib.contextmanager
def started(*daemons: Daemon) -> Iterator[None]:
    """Start servers one after the other, and end them in the opposite order."""
    with contextlib.ExitStack() as stack:
        for daemon in daemons:
            stack.callback(daemon.kill)
            daemon.start()
        yield
