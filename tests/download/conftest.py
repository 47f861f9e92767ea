"""What the tests of downloads share: a server that hosts the drawn release, and downloads from it."""

import pytest

from ml.config.deployment import Deployment
from ml.download.delivery import download, open_target
from support.file_server import host_release, serving, sources

QUICK = {"connections": 8, "timeout_seconds": 5.0, "backoff_seconds": 0.01, "max_wait_seconds": 5.0}


@pytest.fixture
def server(sample_release, tmp_path):
    (tmp_path / "www").mkdir()
    with serving(tmp_path / "www") as server:
        host_release(server, sample_release)
        yield server


@pytest.fixture
def target(server, tmp_path):
    """Open a download of 20 images from the server into the test's own landing."""

    def open_(date="2026-01-31", **values):
        given = {"images": 20, "max_missing_share": 0.2, **QUICK, **sources(server), "date": date, **values}
        return open_target(str(tmp_path / "storage"), {"landing": str(tmp_path / "landing"), **given}, Deployment())

    return open_


@pytest.fixture
def fetch(target):
    """Download a delivery from the server."""
    return lambda *arguments, **values: download(target(*arguments, **values))
