"""A dry run: it tells what a download would do, and writes nothing."""

import pytest

from ml.download.annotations import official_path
from ml.download.delivery import download
from ml.download.estimate import estimate
from support.file_server import status


@pytest.fixture
def files(tmp_path):
    """List everything below the test's folder, except what the server holds."""
    return lambda: sorted(path for path in tmp_path.rglob("*") if "www" not in path.parts)


def test_before_the_annotation_files_are_there_it_tells_their_size(server, target, files, tmp_path):
    told = estimate(target())
    sizes = {path: path.stat().st_size for path in (server.root / "openimages").rglob("*.csv")}
    assert told.annotation_bytes == sum(sizes.values())
    assert (told.images, told.photograph_bytes, told.sample) == (20, 20 * 300_000, 0)
    assert told.seconds > 0
    assert told.free_bytes > 0
    assert files() == []
    assert server.whole("bucket/") == []


def test_afterwards_it_picks_the_images_and_measures_a_sample(server, target, files, tmp_path):
    download(target("2026-01-31", images=5))
    before = files()
    told = estimate(target("2026-02-28"))
    assert files() == before
    done = download(target("2026-02-28"))
    assert (told.images, told.labels) == (done.picked, done.labels)
    assert told.annotation_bytes == 0
    assert told.sample >= done.fetched - 1
    assert 0.8 * done.bytes < told.photograph_bytes < 1.3 * done.bytes
    assert told.seconds > 0


def test_of_a_complete_delivery_it_says_so(target):
    download(target())
    told = estimate(target())
    assert told.found_done
    assert str(told).endswith("is complete; nothing would be fetched.")


def test_it_is_told_in_words(target):
    download(target("2026-01-31", images=5))
    lines = str(estimate(target("2026-02-28"))).splitlines()
    assert [line.partition(":")[0] for line in lines[1:]] == [
        *("images", "annotation files", "photographs", "free disk space", "time"),
    ]
    assert "female" in lines[1]


def test_a_file_that_does_not_arrive_leaves_the_time_unknown(server, target):
    server.spoil(f"openimages/{official_path('boxes', 'train')}", status(500), forever=True)
    told = estimate(target())
    assert told.seconds is None
    assert str(told).endswith("time: not known")
