"""Keep requests over http(s) on the hosts that were asked for.

A web server can answer with a redirect, and an image list holds addresses that its author chose. Both could make a
worker ask a service that only the worker can reach, such as the cloud's metadata service.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import aiohttp
from yarl import URL


class ForeignRedirectError(aiohttp.ClientError):
    """A server redirects to another host."""


class PrivateAddressError(PermissionError):
    """A host's address is not on the public internet."""


async def same_host_session(**arguments: Any) -> aiohttp.ClientSession:
    """Open a session that follows redirects only within a host; a redirect from http to https is fine."""
    return aiohttp.ClientSession(trace_configs=[_same_host()], **arguments)


def public_connector(also: Collection[tuple[str, int]] = (), **arguments: Any) -> aiohttp.TCPConnector:
    """Return a connector that connects to public addresses only, whatever name or redirect leads to the others.

    Args:
        also: IP addresses with ports that are allowed nevertheless.
        **arguments: Arguments of aiohttp's connector.
    """

    def make_socket(info: Any) -> socket.socket:
        family, kind, protocol, _, address = info
        host, port = str(address[0]), int(address[1])
        if not ipaddress.ip_address(host.partition("%")[0]).is_global and (host, port) not in also:
            raise PrivateAddressError(errno.EACCES, f"{host} is not a public address")
        return socket.socket(family, kind, protocol)

    return aiohttp.TCPConnector(socket_factory=make_socket, **arguments)


def _same_host() -> aiohttp.TraceConfig:
    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_refuse_foreign)
    return trace


async def _refuse_foreign(
    session: aiohttp.ClientSession, context: SimpleNamespace, redirect: aiohttp.TraceRequestRedirectParams
) -> None:
    here = redirect.response.url
    there = here.join(URL(redirect.response.headers.get("Location") or redirect.response.headers.get("URI") or ""))
    upgraded = (here.scheme, here.port, there.scheme, there.port) == ("http", 80, "https", 443)
    if there.host != here.host or not (there.port == here.port or upgraded):
        raise ForeignRedirectError(f"{here.host} redirects to another host, {there.host}:{there.port}")
