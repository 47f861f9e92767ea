"""The hosts of annotation files and photographs: http(s) through aiohttp, S3 through s3fs."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
import fsspec

from ml.download.faults import FetchError, Reason, of_status
from ml.hosts import ForeignRedirectError, PrivateAddressError, public_connector, same_host_session

BLOCK = 1 << 20  # bytes read at a time from an annotation file behind HTTP
S3_BLOCK = 16 << 20  # bytes of each request for a part of an annotation file in S3
OFFICIAL_BUCKET = "open-images-dataset"  # readable only without a signature, unless one has an account
AGENT = "open-images-faces (+https://storage.googleapis.com/openimages/web/index.html)"
# A host that compresses on the way would state another size, and send other bytes than those that its digest is of.
AS_STORED = {"Accept-Encoding": "identity"}
CONNECTOR: dict[str, Any] = {"limit": 0, "ttl_dns_cache": 300}
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class FileState:
    """The state of a file at its host.

    Attributes:
        size: Size in bytes, None if the host does not say.
        version: A string that changes with the content, to continue only the same file; None if the host has none.
        md5: MD5 of the content in hex digits, None if the host does not publish it.
    """

    size: int | None
    version: str | None
    md5: str | None


@dataclass(frozen=True)
class Opened:
    """A file that is being read.

    Attributes:
        start: The offset of the first byte; 0 if the host sends the file from its beginning.
        state: The whole file's state.
        blocks: The content from there on.
    """

    start: int
    state: FileState
    blocks: AsyncIterator[bytes]


class Host(Protocol):
    """A place that holds files by path. Its methods raise `FetchError`."""

    name: str

    async def get(self, path: str) -> bytes:
        """Return a file's content."""

    async def look(self, path: str) -> FileState:
        """Return a file's state."""

    def open(self, path: str, start: int, version: str | None) -> AbstractAsyncContextManager[Opened]:
        """Open a file at an offset if its version is still this one, or else at its beginning."""


@dataclass
class HttpHost:
    """Files behind http or https.

    Attributes:
        name: The host's name in messages.
        base: The address below which the files are; empty if paths are whole addresses.
        session: The open session, shared by all hosts.
        seconds: Time allowed for a file, or for a block of a file that is read in blocks.
    """

    name: str
    base: str
    session: aiohttp.ClientSession
    seconds: float

    async def get(self, path: str) -> bytes:
        """Return a file's content."""
        timeout = aiohttp.ClientTimeout(total=self.seconds)
        async with _as_fetch_errors(), self.session.get(self._url(path), timeout=timeout) as answer:
            _check(answer)
            return await answer.read()

    async def look(self, path: str) -> FileState:
        """Return a file's state."""
        timeout = aiohttp.ClientTimeout(total=self.seconds)
        async with (
            _as_fetch_errors(),
            self.session.head(self._url(path), headers=AS_STORED, timeout=timeout, allow_redirects=True) as answer,
        ):
            _check(answer)
            return _state(answer.headers, answer.content_length)

    @asynccontextmanager
    async def open(self, path: str, start: int, version: str | None) -> AsyncIterator[Opened]:
        """Open a file at an offset if its version is still this one, or else at its beginning."""
        headers = dict(AS_STORED)
        if start and version:
            headers |= {"Range": f"bytes={start}-", "If-Range": version}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self.seconds, sock_read=self.seconds)
        async with (
            _as_fetch_errors(),
            self.session.get(self._url(path), headers=headers, timeout=timeout) as answer,
        ):
            _check(answer)
            begins = _first_byte(answer.headers) if answer.status == 206 else 0
            size = None if answer.content_length is None else begins + answer.content_length
            yield Opened(begins, _state(answer.headers, size), answer.content.iter_chunked(BLOCK))

    def _url(self, path: str) -> str:
        return f"{self.base.rstrip('/')}/{path}" if self.base else path


@dataclass
class S3Host:
    """Files in an S3 bucket, read without a signature if it is the official one.

    Attributes:
        name: The bucket and prefix, as in `s3://bucket/prefix`.
        fs: The file system of s3fs, opened in this event loop.
        seconds: Time allowed for a file, or for a block of a file that is read in blocks.
    """

    name: str
    fs: Any = field(repr=False)
    seconds: float

    async def get(self, path: str) -> bytes:
        """Return a file's content."""
        return await self._read(path)

    async def look(self, path: str) -> FileState:
        """Return a file's state."""
        async with _as_fetch_errors(), asyncio.timeout(self.seconds):
            info = await self.fs._info(self._key(path))
        etag = str(info.get("ETag") or "").strip('"')
        return FileState(int(info["size"]), etag or None, etag if _MD5.fullmatch(etag) else None)

    @asynccontextmanager
    async def open(self, path: str, start: int, version: str | None) -> AsyncIterator[Opened]:
        """Open a file at an offset if its version is still this one, or else at its beginning."""
        state = await self.look(path)
        begins = start if version and state.version == version else 0
        yield Opened(begins, state, self._blocks(path, begins, state.size or 0))

    async def _blocks(self, path: str, start: int, size: int) -> AsyncIterator[bytes]:
        for offset in range(start, size, S3_BLOCK):
            yield await self._read(path, start=offset, end=min(offset + S3_BLOCK, size))

    async def _read(self, path: str, **part: int) -> bytes:
        async with _as_fetch_errors(), asyncio.timeout(self.seconds):
            # With the default, it asks for the size first, which doubles the requests.
            return bytes(await self.fs._cat_file(self._key(path), max_concurrency=1, **part))

    def _key(self, path: str) -> str:
        return f"{self.name.removeprefix('s3://').rstrip('/')}/{path}"


@asynccontextmanager
async def open_session() -> AsyncIterator[aiohttp.ClientSession]:
    """Open the session for a configured host behind http(s). It uses the proxies that the environment names.

    The number of connections is not limited here: waiting for one would count as the server's time.
    """
    async with await same_host_session(connector=aiohttp.TCPConnector(**CONNECTOR), **_session_arguments()) as session:
        yield session


@asynccontextmanager
async def open_public_session(also: str) -> AsyncIterator[aiohttp.ClientSession]:
    """Open the session for addresses that an image list names: it connects to public addresses only.

    A proxy decides by itself where it connects.

    Args:
        also: The configured address of the photographs. If it has a numeric host, that host is allowed too.
    """
    arguments = _session_arguments()
    url = urllib.parse.urlsplit(also)
    host = (url.hostname or "", url.port or (443 if url.scheme == "https" else 80))
    connector = aiohttp.TCPConnector(**CONNECTOR) if arguments["trust_env"] else public_connector([host], **CONNECTOR)
    async with aiohttp.ClientSession(connector=connector, **arguments) as session:
        yield session


def _session_arguments() -> dict[str, Any]:
    # With `trust_env`, aiohttp looks for proxies in a thread, twice for each request, even where there are none.
    proxies = urllib.request.getproxies().keys() - {"no"}
    return {"trust_env": bool(proxies), "headers": {"User-Agent": AGENT}}


@asynccontextmanager
async def open_host(
    url: str, session: aiohttp.ClientSession, seconds: float, connections: int
) -> AsyncIterator[HttpHost | S3Host]:
    """Open the host of an address, http(s) or s3.

    Args:
        url: The address below which the files are.
        session: The session for http(s).
        seconds: Time allowed for a file, or for a block of a file that is read in blocks.
        connections: The largest number of files read at the same time.
    """
    async with AsyncExitStack() as stack:
        if not url.startswith("s3://"):
            yield HttpHost(url, url, session, seconds)
            return
        anonymous = url.removeprefix("s3://").split("/")[0] == OFFICIAL_BUCKET
        fs = fsspec.filesystem(
            "s3",
            anon=anonymous,
            asynchronous=True,
            skip_instance_cache=True,  # it belongs to this event loop
            config_kwargs={"max_pool_connections": connections},
        )
        connection = await fs.set_session()
        stack.push_async_callback(connection.close)
        yield S3Host(url, fs, seconds)


@asynccontextmanager
async def _as_fetch_errors() -> AsyncIterator[None]:
    """Translate the errors of aiohttp and of s3fs."""
    try:
        yield
    except FetchError:
        raise
    except TimeoutError as error:
        raise FetchError(Reason.TIMEOUT, "the server took too long") from error
    except (aiohttp.InvalidURL, aiohttp.TooManyRedirects) as error:
        raise FetchError(Reason.REFUSED, type(error).__name__) from error
    except ForeignRedirectError as error:
        raise FetchError(Reason.REFUSED, str(error)) from error
    except aiohttp.ClientConnectorError as error:
        reason = Reason.REFUSED if isinstance(error.os_error, PrivateAddressError) else Reason.CONNECTION
        raise FetchError(reason, str(error)) from error
    except aiohttp.ClientError as error:
        raise FetchError(Reason.CONNECTION, str(error) or type(error).__name__) from error
    except FileNotFoundError as error:
        raise FetchError(Reason.ABSENT, "no such key") from error
    except PermissionError as error:
        raise FetchError(Reason.REFUSED, str(error)) from error
    except OSError as error:
        raise FetchError(Reason.CONNECTION, str(error) or type(error).__name__) from error


def _check(answer: aiohttp.ClientResponse) -> None:
    if answer.status >= 300:
        raise of_status(answer.status, answer.reason or "", answer.headers.get("Retry-After"))


def _first_byte(headers: Mapping[str, str]) -> int:
    found = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
    if not found:
        raise FetchError(Reason.SERVER, "a partial answer without Content-Range")
    return int(found[1])


def _state(headers: Any, size: int | None) -> FileState:
    """Return a file's state by its headers; Google's store publishes digests in `x-goog-hash`, S3 in the ETag."""
    etag = headers.get("ETag")
    version = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")
    for part in ",".join(headers.getall("x-goog-hash", [])).split(","):
        kind, _, digest = part.strip().partition("=")
        if kind == "md5":
            try:
                return FileState(size, version, base64.b64decode(digest, validate=True).hex())
            except binascii.Error:
                break
    plain = (etag or "").strip('"')
    return FileState(size, version, plain if _MD5.fullmatch(plain) else None)
