"""Tests of `ml.storage` that need no other module."""

import logging

import pytest

from ml import disk
from ml.errors import ResourceError


def test_space_is_told_in_a_size_that_can_be_read(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        disk.check_space(str(tmp_path), 2_500_000, "3 chips")
    assert "3 chips need about 2.5 MB below" in caplog.text
    told = r"Many chips need about 1000000\.0 GB, but .* has [\d.]+ [GM]B free.*folder on a larger disk"
    with pytest.raises(ResourceError, match=told):
        disk.check_space(str(tmp_path / "new"), 10**15, "Many chips")
