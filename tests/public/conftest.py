"""A storage root as notebooks open it."""

from __future__ import annotations

import pytest

from ml import open_storage, storage
from ml.config.training import TrainingConfig
from ml.tracking.registry import Registry
from ml.workflow.manifest import File
from support.promotions import make_candidate
from support.reports import measured


@pytest.fixture
def opened(tmp_path):
    """A storage root with two evaluated runs; the first one's model is a network and champion."""
    make_candidate(tmp_path, "second", right=60, finished="2020-03-01T01:00:00+00:00")
    first = make_candidate(tmp_path, "first", sharpness=4.0)
    metrics = storage.join(first.evaluated.uri, "metrics.json")
    storage.write_json(metrics, measured().json_values())
    listed = first.evaluated.model_copy(update={"files": [File(path="metrics.json", bytes=storage.size(metrics))]})
    storage.write_bytes(storage.join(first.evaluated.uri, "manifest.json"), listed.model_dump_json().encode())
    registry = Registry(str(tmp_path), TrainingConfig())
    registry.register(first.trained, first.evaluated, first.run.uri, first.as_of)
    registry.promote(1, instead_of=None)
    return open_storage(str(tmp_path))
