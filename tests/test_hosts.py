"""Requests over http stay on the hosts that a configuration names."""

import asyncio
import http.server
import threading
from contextlib import contextmanager

import aiohttp
import pytest

from ml import storage
from ml.download.faults import FetchError, Reason
from ml.download.sources import HttpHost, open_public_session, open_session
from ml.hosts import ForeignRedirectError, public_connector
from ml.photographs.files import HttpPhotographs

SECRET = b"what only this machine may read"


@contextmanager
def serving(answers):
    """Serve paths on loopback: bytes, or an address to redirect to."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            answer = answers[self.path]
            if isinstance(answer, str):
                self.send_response(302)
                self.send_header("Location", answer)
                answer = b""
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else answer)

        do_HEAD = do_GET

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def hosts():
    """A host that redirects within itself and to an internal service, and what the service was asked."""
    with serving({"/latest": SECRET}) as (internal, asked):
        answers = {"/train/moved.jpg": "/train/here.jpg", "/train/here.jpg": b"photograph"}
        answers["/train/stolen.jpg"] = f"{internal}/latest"
        answers["/train/again.jpg"] = "/train/stolen.jpg"
        with serving(answers) as (outer, _):
            yield outer, internal, asked


def test_photographs_behind_http_are_not_read_through_a_redirect_to_another_host(hosts):
    outer, _, asked = hosts
    photographs = HttpPhotographs(outer)
    assert photographs.read("train", "moved") == b"photograph"
    for name in ("stolen", "again"):
        with pytest.raises(ForeignRedirectError, match="redirects to another host"):
            photographs.read("train", name)
    with pytest.raises(ForeignRedirectError):
        storage.read_bytes(f"{outer}/train/stolen.jpg")
    assert asked == []


def test_a_download_does_not_follow_a_redirect_to_another_host(hosts):
    outer, _, asked = hosts

    async def fetch(path):
        async with open_session() as session:
            host = HttpHost(outer, outer, session, 10.0)
            return await host.get(path), await host.look(path)

    assert asyncio.run(fetch("train/moved.jpg"))[0] == b"photograph"
    with pytest.raises(FetchError, match="redirects to another host") as refused:
        asyncio.run(fetch("train/stolen.jpg"))
    assert refused.value.reason is Reason.REFUSED
    assert asked == []


def test_an_original_address_may_not_lead_to_a_private_host(hosts):
    outer, internal, asked = hosts

    async def fetch(address):
        async with open_public_session(outer) as session:
            return await HttpHost("the original address", "", session, 10.0).get(address)

    assert asyncio.run(fetch(f"{outer}/train/here.jpg")) == b"photograph"
    port = internal.rpartition(":")[2]
    for address in (
        f"{internal}/latest",
        f"{outer}/train/stolen.jpg",
        f"http://localhost:{port}/latest",
        f"http://2130706433:{port}/latest",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
        "http://[::1]/",
    ):
        with pytest.raises(FetchError, match=r"not a public address|InvalidUrl") as refused:
            asyncio.run(fetch(address))
        assert refused.value.reason is Reason.REFUSED
    assert asked == []


def test_a_public_address_gets_a_socket():
    connector_of = {}

    async def make(host):
        connector_of[host] = public_connector()
        try:
            info = (2, 1, 6, "", (host, 443))
            connector_of[host]._socket_factory(info).close()
        finally:
            await connector_of[host].close()

    asyncio.run(make("142.250.1.1"))
    for host in ("127.0.0.1", "192.168.1.1", "100.64.0.1", "0.0.0.0"):
        with pytest.raises(PermissionError):
            asyncio.run(make(host))
    assert issubclass(ForeignRedirectError, aiohttp.ClientError)
