"""Photographs in any kind of storage are read, listed and digested in the same way; HTTP only reads."""

import functools
import hashlib
import http.server
import pickle
import threading

import pytest

from ml import storage
from ml.errors import DataError
from ml.photographs.files import FolderPhotographs, HttpPhotographs
from ml.photographs.opening import open_photographs

FILES = {("train", "a"): b"one", ("train", "b"): b"two", ("test", "a"): b"three"}


@pytest.fixture
def folder(tmp_path):
    for (subset, image_id), content in FILES.items():
        (tmp_path / subset).mkdir(exist_ok=True)
        (tmp_path / subset / f"{image_id}.jpg").write_bytes(content)
    (tmp_path / "train" / "notes.txt").write_text("no photograph")
    return tmp_path


@pytest.fixture
def server(folder):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(params=["folder", "memory", "http"])
def photographs(request):
    """Provide the same photographs in a local folder, in an object store, and behind HTTP."""
    if request.param == "memory":
        for (subset, image_id), content in FILES.items():
            storage.write_bytes(f"memory://photographs/{subset}/{image_id}.jpg", content)
        yield open_photographs("memory://photographs/")
        storage.remove("memory://photographs")
    else:
        name = "server" if request.param == "http" else request.param
        yield open_photographs(str(request.getfixturevalue(name)))


def test_a_photograph_is_read_in_a_worker_too(photographs):
    there = pickle.loads(pickle.dumps(photographs))
    assert there == photographs
    assert {key: there.read(*key) for key in FILES} == FILES
    with pytest.raises(FileNotFoundError):
        there.read("validation", "a")


def test_a_place_lists_its_photographs_or_says_that_it_cannot(photographs):
    if isinstance(photographs, HttpPhotographs):
        with pytest.raises(DataError, match="cannot be listed"):
            photographs.list()
        return
    listed = list(photographs.list())
    assert {(photo.subset, photo.image_id) for photo in listed} == FILES.keys()
    assert all(int(photo.state.split()[0]) == len(FILES[photo[:2]]) for photo in listed)


def test_a_place_says_whether_it_is_there_and_what_it_misses(photographs, tmp_path):
    assert photographs.exists()
    assert photographs.missing() == (() if isinstance(photographs, HttpPhotographs) else ("validation",))
    assert not FolderPhotographs(f"file://{tmp_path}/none").exists()


def test_the_digest_is_the_sum_of_the_photographs_own_digests(folder):
    """The value is part of the keys of explore and chip: another one would redo all their work."""
    total = 0
    for subset, image_id in FILES:
        stat = (folder / subset / f"{image_id}.jpg").stat()
        line = f"{subset}/{image_id}.jpg {stat.st_size} {stat.st_mtime_ns}"
        total += int(hashlib.sha256(line.encode()).hexdigest(), 16)
    assert open_photographs(str(folder)).digest() == f"{total % (1 << 256):064x}"


def test_the_digest_of_an_address_is_that_of_its_text():
    address = "https://example.org/photographs"
    assert open_photographs(address + "/").digest() == hashlib.sha256(address.encode()).hexdigest()


def test_a_link_to_nothing_is_an_absent_photograph(folder):
    before = open_photographs(str(folder))
    listed, digest = set(before.list()), before.digest()
    (folder / "train" / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "train" / "there.jpg").symlink_to(folder / "train" / "a.jpg")
    after = open_photographs(str(folder))
    assert {photo.image_id for photo in set(after.list()) - listed} == {"there"}
    assert after.digest() != digest
    (folder / "train" / "there.jpg").unlink()
    assert after.digest() == digest
    with pytest.raises(FileNotFoundError):
        after.read("train", "gone")
