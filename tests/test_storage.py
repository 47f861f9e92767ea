"""Tests of `ml.storage` that need no other module."""

import logging

import pytest

from ml import disk, storage
from ml.errors import ConfigurationError, ResourceError


def test_space_is_told_in_a_size_that_can_be_read(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        disk.check_space(str(tmp_path), 2_500_000, "3 chips")
    assert "3 chips need about 2.5 MB below" in caplog.text
    told = r"Many chips need about 1000000\.0 GB, but .* has [\d.]+ [GM]B free.*folder on a larger disk"
    with pytest.raises(ResourceError, match=told):
        disk.check_space(str(tmp_path / "new"), 10**15, "Many chips")


@pytest.mark.parametrize(
    ("given", "normal", "below"),
    [
        ("/", "file:///", "file:///a/b"),
        ("file:///", "file:///", "file:///a/b"),
        ("/data//", "file:///data", "file:///data/a/b"),
        ("file:///data/", "file:///data", "file:///data/a/b"),
        ("s3://bucket/", "s3://bucket", "s3://bucket/a/b"),
        ("s3://bucket/folder", "s3://bucket/folder", "s3://bucket/folder/a/b"),
    ],
)
def test_a_uri_is_normal_once_and_for_all_the_root_of_the_machine_too(given, normal, below):
    assert storage.normalize(given) == normal
    assert storage.normalize(normal) == normal
    assert storage.join(normal, "a/", "/b") == below


def test_a_uri_that_nothing_opens_is_one_clear_error():
    with pytest.raises(ConfigurationError, match=r"foo://bucket/x cannot be opened: .*foo"):
        storage.exists("foo://bucket/x")
