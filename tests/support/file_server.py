"""A local HTTP server of files that misbehaves as it is told, and keeps a log of what it sent."""

from __future__ import annotations

import asyncio
import base64
import csv
import gzip
import hashlib
import shutil
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

Fault = Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]
HTML = b"<!DOCTYPE html>\n<html><body>This photograph is no longer available.</body></html>"


@dataclass(frozen=True)
class Sent:
    """An answer: the path, the status, the first byte of a range, and whether the file went out whole and unspoiled."""

    path: str
    status: int
    start: int
    whole: bool


@dataclass
class FileServer:
    """Serves the files below a folder.

    Attributes:
        root: The folder.
        url: The address.
        faults: By path, what happens to its GET requests, one after the other. After that the file is served, or the
            last fault repeats if the path is in `broken`.
        broken: The paths that never recover.
        log: All answers.
        delay: Seconds before each answer.
        digests: Whether to publish MD5 digests, as Google's store does.
        compresses: Whether clients that accept it get files compressed on the way, as many web servers do.
    """

    root: Path
    url: str = ""
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    log: list[Sent] = field(default_factory=list)
    delay: float = 0.0
    digests: bool = True
    compresses: bool = False
    most_at_once: int = 0
    _at_once: int = 0

    def spoil(self, path: str, *faults: Fault, forever: bool = False) -> None:
        """Let the next requests for a path fail, or all of them."""
        self.faults[path] = list(faults)
        if forever:
            self.broken.add(path)

    def whole(self, prefix: str = "") -> list[str]:
        """Return the paths that were sent whole, in order, as often as they were sent."""
        return [sent.path for sent in self.log if sent.whole and sent.path.startswith(prefix)]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path.lstrip("/")
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await asyncio.sleep(self.delay)
            return await self._answer(request, path)
        finally:
            self._at_once -= 1

    async def _answer(self, request: web.Request, path: str) -> web.StreamResponse:
        file = self.root / path
        data = file.read_bytes() if file.is_file() else b""
        if request.method != "HEAD" and (waiting := self.faults.get(path)):
            fault = waiting[0] if path in self.broken and len(waiting) == 1 else waiting.pop(0)
            self.log.append(Sent(path, 0, 0, False))
            return await fault(request, data)
        if not file.is_file():
            self.log.append(Sent(path, 404, 0, False))
            return web.Response(status=404, text=HTML.decode(), content_type="text/html")
        digest = hashlib.md5(data).digest()
        headers = {"ETag": f'"version-{digest.hex()}"'}
        if self.digests:
            headers["x-goog-hash"] = f"crc32c=AAAAAA==,md5={base64.b64encode(digest).decode()}"
        start = 0
        if request.headers.get("If-Range") == headers["ETag"]:
            start = request.http_range.start or 0
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        status = 206 if start else 200
        if request.method != "HEAD":
            self.log.append(Sent(path, status, start, not start))
        if self.compresses and "gzip" in request.headers.get("Accept-Encoding", ""):
            packed = gzip.compress(data)
            return web.Response(body=packed, headers={"ETag": headers["ETag"], "Content-Encoding": "gzip"})
        return web.Response(body=data[start:], status=status, headers=headers)


def status(code: int, **headers: str) -> Fault:
    """Answer with a status, and headers whose underscores stand for dashes."""

    async def fault(request: web.Request, data: bytes) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=code, headers=named, text=HTML.decode(), content_type="text/html")

    return fault


async def html(request: web.Request, data: bytes) -> web.StreamResponse:
    """Answer with a page and status 200."""
    return web.Response(body=HTML, content_type="text/html")


async def hang(request: web.Request, data: bytes) -> web.StreamResponse:
    """Answer never."""
    await asyncio.sleep(3600)
    raise AssertionError


async def cut(request: web.Request, data: bytes) -> web.StreamResponse:
    """Close the connection in the middle of the body."""
    answer = web.StreamResponse(headers={"Content-Length": str(len(data)), "ETag": f'"version-{_md5(data)}"'})
    await answer.prepare(request)
    await answer.write(data[: len(data) // 2])
    await asyncio.sleep(0.02)  # for the bytes to leave
    assert request.transport
    request.transport.abort()
    return answer


async def slow(request: web.Request, data: bytes) -> web.StreamResponse:
    """Send a byte at a time, and never all of them."""
    answer = web.StreamResponse(headers={"Content-Length": str(len(data))})
    await answer.prepare(request)
    for byte in data:
        await answer.write(bytes([byte]))
        await asyncio.sleep(0.05)
    return answer


async def short(request: web.Request, data: bytes) -> web.StreamResponse:
    """State and send a third of the file, as if that were all of it."""
    return web.Response(body=data[: len(data) // 3])


async def garbled(request: web.Request, data: bytes) -> web.StreamResponse:
    """Send other bytes under the digest of the file."""
    stated = base64.b64encode(hashlib.md5(data).digest()).decode()
    headers = {"x-goog-hash": f"md5={stated}", "ETag": f'"version-{_md5(data)}"'}
    return web.Response(body=data[:-1] + b"?", headers=headers)


def redirect(url: str) -> Fault:
    """Answer with a redirect to another address."""

    async def fault(request: web.Request, data: bytes) -> web.StreamResponse:
        raise web.HTTPFound(url)

    return fault


def _md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


@contextmanager
def serving(root: Path) -> Iterator[FileServer]:
    """Serve a folder on a free port of this machine while the block runs."""
    server, loop, ready = FileServer(root), asyncio.new_event_loop(), threading.Event()
    runners = []

    async def start() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", server.answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        runners.append(runner)
        ready.set()

    def run() -> None:
        loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(runners[0].cleanup())
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)


def host_release(server: FileServer, release: Path) -> None:
    """Put a release on a server as the two official hosts have it, and its photographs as originals too.

    The annotation files lie below `openimages`, the photographs below `bucket`, the originals below `originals`. The
    image lists state the originals' addresses and digests.
    """
    root = server.root
    for folder in ("v5", "2018_04", "open_images_extended_miap"):
        shutil.copytree(release / folder, root / "openimages" / folder)
    for subset in ("train", "validation", "test"):
        shutil.copytree(release / subset, root / "bucket" / subset)
    (root / "originals").mkdir()
    for file in sorted((root / "openimages" / "2018_04").glob("*/*-with-rotation.csv")):
        with file.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        for row in rows:
            photograph = release / row["Subset"] / f"{row['ImageID']}.jpg"
            original = root / "originals" / f"{row['ImageID']}_o.jpg"
            row["OriginalURL"] = f"{server.url}/originals/{original.name}"
            if photograph.exists():
                # The original is another file than the bucket's copy, though it shows the same.
                original.write_bytes(photograph.read_bytes() + b"\xff\xd9")
                row["OriginalMD5"] = base64.b64encode(hashlib.md5(original.read_bytes()).digest()).decode()
        with file.open("w", newline="", encoding="utf-8") as lines:
            writer = csv.DictWriter(lines, rows[0].keys(), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def sources(server: FileServer) -> dict[str, str]:
    """Return the parameters that name a server's two hosts."""
    return {"annotations_url": f"{server.url}/openimages", "photographs_url": f"{server.url}/bucket"}
