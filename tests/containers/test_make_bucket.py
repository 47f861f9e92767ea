"""Tests of `docker/make_bucket.py`, against moto's server."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "docker" / "make_bucket.py"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A store without buckets, which the variables `AWS_*` name as in docker-compose.yaml."""
    server_module = pytest.importorskip("moto.server")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    yield f"http://{host}:{port}"
    server.stop()


def test_the_bucket_is_made_once(store: str) -> None:
    s3fs = pytest.importorskip("s3fs")
    main = runpy.run_path(str(SCRIPT))["main"]
    main("open-images")
    with s3fs.S3FileSystem().open("open-images/kept", "w") as file:
        file.write("content")
    main("open-images")
    assert s3fs.S3FileSystem(skip_instance_cache=True).ls("open-images") == ["open-images/kept"]
