"""Tests of `docker/healthcheck.py`."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "docker" / "healthcheck.py"


@pytest.fixture
def health_url() -> Iterator[str]:
    """A server that answers as the API server's health page does."""

    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"scheduler": {"status": "healthy"}, "triggerer": {"status": "unhealthy"}}')

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.parametrize(
    ("arguments", "healthy"), [([], True), (["scheduler"], True), (["triggerer"], False), (["no-such"], False)]
)
def test_health_check(health_url: str, arguments: list[str], healthy: bool) -> None:
    done = subprocess.run([sys.executable, SCRIPT, health_url, *arguments], capture_output=True)
    assert (done.returncode == 0) is healthy
