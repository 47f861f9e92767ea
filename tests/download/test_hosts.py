"""Mirrors and proxies: what the configuration and the environment name is asked, and nothing else."""

import fsspec
import pytest

from ml.download.delivery import download
from ml.errors import DataError
from support.file_server import serving


def test_a_proxy_of_the_environment_carries_every_request(server, target, monkeypatch):
    """The hosts have names that nothing resolves; the server, as their proxy, gets the requests."""
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    hosts = {
        "annotations_url": "http://annotations.invalid/openimages",
        "photographs_url": "http://photographs.invalid/bucket/",
    }
    record = download(target(images=5, originals=False, **hosts))
    assert record.images == len(server.whole("bucket/")) == 5


def test_two_mirrors_do_not_share_a_cache(server, target, tmp_path):
    first = target()
    download(first)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "openimages").symlink_to(server.root / "openimages")
    with serving(tmp_path / "other") as mirror:
        second = target("2026-02-28", annotations_url=f"{mirror.url}/openimages")
        assert second.cache != first.cache
        download(second)
        assert mirror.whole("openimages/")


@pytest.fixture
def bucket(server, monkeypatch):
    """An S3 server on loopback that holds what the HTTP server holds, in the official bucket and in a mirror's."""
    import s3fs
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    settings = {"ENDPOINT_URL": f"http://{host}:{port}", "KEY": "key", "SECRET": "secret"}
    for name, value in settings.items():
        monkeypatch.setenv(f"FSSPEC_S3_{name}", value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    before = dict(fsspec.config.conf)
    fsspec.config.set_conf_env(fsspec.config.conf)
    fs = s3fs.S3FileSystem(skip_instance_cache=True, s3_additional_kwargs={"ACL": "public-read"})
    for name in ("open-images-dataset", "mirror"):
        fs.mkdir(name)
    fs.put(f"{server.root}/bucket/", "open-images-dataset/", recursive=True)
    fs.put(f"{server.root}/openimages/", "mirror/openimages/", recursive=True)
    yield
    for name in ("open-images-dataset", "mirror"):
        fs.rm(name, recursive=True)
    fsspec.config.conf.clear()
    fsspec.config.conf.update(before)
    moto.stop()


@pytest.mark.cluster
def test_buckets_are_read_by_s3(bucket, server, target, tmp_path):
    hosts = {"annotations_url": "s3://mirror/openimages", "photographs_url": "s3://open-images-dataset"}
    record = download(target(images=12, originals=False, max_missing_share=0.5, **hosts))
    assert record.images == record.fetched > 8
    for file in (tmp_path / "landing").glob("*/*/*.jpg"):
        assert file.read_bytes() == (server.root / "bucket" / file.parent.name / file.name).read_bytes()
    assert server.log == [], "nothing went by HTTP"


@pytest.mark.cluster
def test_what_a_bucket_lacks_is_told(bucket, server, target):
    hosts = {"annotations_url": "s3://mirror/openimages", "photographs_url": "s3://open-images-dataset/absent"}
    with pytest.raises(DataError, match=r"\(\d+ not found\), more than max_missing_share"):
        download(target(originals=False, **hosts))
