"""Choose free ports on this machine's loopback address, the only one that the servers of these scripts listen on."""

from __future__ import annotations

import contextlib
import os
import socket

from ml.errors import ResourceError

HOST = "127.0.0.1"


def free_port(default: int) -> int:
    """Choose the port that `PORT` names, else the default, or the next one after it that is free."""
    wanted = os.environ.get("PORT") or str(default)
    if not wanted.isdecimal() or not 0 < int(wanted) < 65536:
        raise ResourceError(f"PORT is {wanted!r}, which is not a port.", "Give a number from 1024 to 65535.")
    return free_port_from(int(wanted))


def free_port_from(first: int) -> int:
    """Choose the first free port from this one on.

    Raises:
        ResourceError: It and the 99 after it are taken.
    """
    for port in range(first, min(first + 100, 65536)):
        with socket.socket() as probe:
            # As the server does; otherwise a port counts as taken for a minute after its last user.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                return port
    raise ResourceError(f"Port {first} and the 99 after it cannot be used.", "Name another one: PORT=<number>.")
