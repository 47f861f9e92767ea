"""The cache of annotation files: fetched once, resumed by range, checked by size and digest."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from ml.download.annotations import CLASSES, fetch_annotations, is_cached, official_path
from ml.errors import DataError, TransientError
from support.file_server import cut, garbled, short, status

BOXES = official_path("boxes", "train")


@pytest.fixture
def fetch(target):
    """Fetch the annotation files, and return them and the folder."""

    def fetch_(**values):
        opened = target(**values)
        return fetch_annotations(opened.config, opened.cache)

    return fetch_


def test_every_file_is_fetched_once_and_is_the_hosts(server, fetch):
    files = fetch()
    assert sorted(server.whole()) == sorted(set(server.whole()))
    for by_subset in files.tables.values():
        for file in by_subset.values():
            path = str(file.relative_to(files.folder))
            assert file.read_bytes() == (server.root / "openimages" / path).read_bytes()
    assert list(files.tables) == ["labels", "boxes", "images", "miap"]
    assert all(set(found) == {"train", "validation", "test"} for found in files.tables.values())
    server.log.clear()
    assert fetch() == files
    assert server.log == []


def test_a_subset_without_a_share_is_not_fetched(server, fetch):
    files = fetch(subsets={"validation": 1.0})
    assert list(files.tables["boxes"]) == ["validation"]
    assert not [path for path in server.whole() if "train" in path]


def test_a_host_that_compresses_on_the_way_gives_the_same_files(server, fetch):
    server.compresses, server.digests = True, False
    file = fetch(retries=0).tables["boxes"]["train"]
    assert file.read_bytes() == (server.root / "openimages" / BOXES).read_bytes()


def test_a_cut_file_is_continued_where_it_ends(server, fetch):
    server.spoil(f"openimages/{BOXES}", cut)
    files = fetch()
    data = (server.root / "openimages" / BOXES).read_bytes()
    assert files.tables["boxes"]["train"].read_bytes() == data
    (rest,) = [sent for sent in server.log if sent.status == 206]
    assert (rest.path, rest.start) == (f"openimages/{BOXES}", len(data) // 2)


def test_a_later_call_continues_too(server, fetch):
    server.spoil(f"openimages/{BOXES}", cut, status(500), forever=True)
    with pytest.raises(TransientError, match="cannot be fetched: server error: HTTP 500"):
        fetch(retries=1)
    server.faults.clear()
    server.log.clear()
    assert is_cached(fetch().tables["boxes"]["train"])
    assert [sent.status for sent in server.log if sent.path.endswith(BOXES)] == [206]


def test_a_file_that_has_changed_at_the_host_is_begun_again(server, fetch):
    file = server.root / "openimages" / BOXES
    server.spoil(f"openimages/{BOXES}", cut, status(500), forever=True)
    with pytest.raises(TransientError):
        fetch(retries=1)
    server.faults.clear()
    file.write_bytes(file.read_bytes() + b"\n")
    server.log.clear()
    assert fetch().tables["boxes"]["train"].read_bytes() == file.read_bytes()
    assert [sent.status for sent in server.log if sent.path.endswith(BOXES)] == [200]


def test_a_file_whose_digest_is_not_the_published_one_is_fetched_again(server, fetch):
    server.spoil(f"openimages/{BOXES}", garbled)
    data = (server.root / "openimages" / BOXES).read_bytes()
    assert fetch().tables["boxes"]["train"].read_bytes() == data


def test_a_file_that_never_has_its_digest_is_refused_and_not_kept(server, fetch):
    server.spoil(f"openimages/{BOXES}", garbled, forever=True)
    with pytest.raises(TransientError, match=r"its MD5 is \w+, but the host states \w+"):
        fetch(retries=1)
    assert not list(server.root.parent.glob("storage/annotations/*/2018_04/train/*bbox.csv*.part"))
    assert not list(server.root.parent.glob("storage/annotations/*/2018_04/train/*bbox.csv"))


def test_without_a_digest_the_size_is_checked(server, fetch):
    """The host says at first how long the file is, and then sends a third of it."""
    server.digests = False
    server.spoil(f"openimages/{BOXES}", short)
    data = (server.root / "openimages" / BOXES).read_bytes()
    assert fetch().tables["boxes"]["train"].read_bytes() == data


def test_a_file_that_the_host_lacks_is_named(server, fetch):
    (server.root / "openimages" / CLASSES).unlink()
    with pytest.raises(DataError, match=rf"openimages/{CLASSES} cannot be fetched: not found: HTTP 404"):
        fetch()


def test_a_host_may_lack_miap(server, fetch):
    for file in (server.root / "openimages" / "open_images_extended_miap").iterdir():
        file.unlink()
    assert sorted(fetch().tables) == ["boxes", "images", "labels"]


def test_a_host_that_asks_for_too_long_a_pause_is_not_waited_for(server, fetch):
    server.spoil(f"openimages/{BOXES}", status(503, Retry_After="3600"), forever=True)
    with pytest.raises(TransientError, match="too many requests: HTTP 503"):
        fetch()


def test_only_one_process_at_a_time_writes_into_the_cache(server, target, caplog):
    """A second download of the same files waits for the first, and then finds them there."""
    caplog.set_level("INFO", logger="ml.download.annotations")
    opened = target()
    server.delay = 0.05
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: fetch_annotations(opened.config, opened.cache), range(2))
    assert first == second
    assert len(server.whole()) == len(set(server.whole()))
    assert "Another download is fetching annotation files" in caplog.text
