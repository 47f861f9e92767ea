"""Metrics and pinned attempts for the tests of reports."""

import functools

import numpy as np

from ml import storage
from ml.metrics.predictions import TestPredictions
from ml.stages.evaluate import measure
from ml.workflow.manifest import File, Manifest


def measured(right=60, wrong=20, miap_counts=None):
    """Return metrics of two labels with 40 and more faces, equally often right, each face on its own image."""
    return measure(_answers(right, wrong), miap_counts=miap_counts) if miap_counts else _measured(right, wrong)


@functools.cache  # the bootstrap takes most of a second
def _measured(right, wrong):
    return measure(_answers(right, wrong))


def _answers(right, wrong):
    half_right, half_wrong = right // 2, wrong // 2
    truth = np.repeat([0, 1], half_right + half_wrong)
    second = np.concatenate(
        [np.repeat([0.1, 0.9], [half_right, half_wrong]), np.repeat([0.9, 0.1], [half_right, half_wrong])]
    )
    columns = {
        "image_id": np.arange(len(truth)).astype(str),
        "source": np.where(np.arange(len(truth)) % 3, "xclick", "activemil"),
        "rotation": np.zeros(len(truth), int),
    }
    return TestPredictions(("female", "male"), 0.5, truth, np.stack([1 - second, second], axis=1), columns)


def pin(context, stage, ledger=None, **files):
    """Commit an attempt of another stage and hand it to the context."""
    uri = storage.join(context.run.root, "stages", stage, "0b", "attempts", "first")
    for name, data in files.items():
        storage.write_bytes(storage.join(uri, *name.split("__")), data)
    manifest = Manifest(
        stage=stage,
        version=1,
        key="0b",
        attempt="first",
        uri=uri,
        config={},
        inputs={},
        sources={},
        files=[File(path=path, bytes=size) for path, size in storage.list_files(uri).items()],
        metrics={},
        ledger=ledger or {},
        versions={},
        started="2020-01-01T00:00:00+00:00",
        finished="2020-01-01T00:02:00+00:00",
    )
    storage.write_bytes(storage.join(uri, "manifest.json"), manifest.model_dump_json().encode())
    context.inputs[stage] = manifest
    return manifest
