"""Choose free ports on the loopback address, the only one on which the servers of these scripts listen."""

from __future__ import annotations

import contextlib
import os
import socket

from ml.errors import ResourceError

HOST = "127.0.0.1"


def free_port(default: int) -> int:
    """Return the first free port from `PORT`, or from the default if `PORT` is not set."""
    wanted = os.environ.get("PORT") or str(default)
    if not wanted.isdecimal() or not 0 < int(wanted) < 65536:
        raise ResourceError(f"PORT is {wanted!r}, which is not a port.", "Set it to a number from 1024 to 65535.")
    return free_port_from(int(wanted))


def free_port_from(first: int) -> int:
    """Return the first free port from this one on.

    Raises:
        ResourceError: This port and the next 99 are taken.
    """
    for port in range(first, min(first + 100, 65536)):
        with socket.socket() as probe:
            # Servers set this too; without it, a port seems taken for a minute after its last use.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                return port
    raise ResourceError(f"Port {first} and the next 99 cannot be used.", "Choose another one: PORT=<number>.")
