"""An object store that throttles, denies, or has had enough of a key: what a job does, and what it says."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from ml import object_store, storage, store_faults

pytestmark = pytest.mark.cluster
BODY = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"


@dataclass
class Store:
    """A server that answers as many requests as it has errors with one, and then each with the same content."""

    address: str = ""
    errors: list[tuple[int, str, str]] = field(default_factory=list)
    asked: int = 0


@pytest.fixture
def store(monkeypatch) -> Iterator[Store]:
    import s3fs

    state = Store()

    class Answers(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            if self.path == "/":  # the first question whether anybody is there
                return self.answer(200, b"")
            state.asked += 1
            if state.errors:
                status, code, message = state.errors.pop(0)
                return self.answer(status, BODY.format(code=code, message=message).encode())
            return self.answer(200, b"content")

        do_HEAD = do_GET

        def answer(self, status, content):
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        state.address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv(object_store.ENDPOINT, state.address)
        for name in object_store.KEYS:
            monkeypatch.setenv(name, "any")
        s3fs.S3FileSystem.clear_instance_cache()
        yield state
        server.shutdown()
        s3fs.S3FileSystem.clear_instance_cache()


def test_throttling_is_waited_for(store):
    store.errors = [(503, "SlowDown", "Please reduce your request rate.")] * 4
    assert storage.read_bytes("s3://bucket/key") == b"content"
    assert store.asked >= 5


@pytest.mark.parametrize(
    ("status", "code", "advice"), [(403, "AccessDenied", "Check the keys"), (400, "ExpiredToken", "have expired")]
)
def test_a_key_that_is_refused_is_not_tried_for_long(store, status, code, advice):
    store.errors = [(status, code, "refused")] * 50
    with pytest.raises(OSError, match=r"Forbidden|Bad Request") as failed:
        storage.read_bytes("s3://bucket/key")
    assert store.asked <= 2
    told = store_faults.explain(failed.value)
    assert told is not None
    assert advice in told.advice
