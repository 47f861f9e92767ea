"""Make small features attempts like those of stage featurize, and runs that pin them."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ml import storage
from ml.config.training import TrainingConfig
from ml.features.reader import split_table
from ml.flow.table import STAGES
from ml.tracking import experiments
from ml.workflow import execution, layout
from ml.workflow.execution import Context
from ml.workflow.manifest import File, Manifest
from ml.workflow.run import Run, slug
from ml.workflow.views import ConfigView

LABELS = ("female", "male")
ROWS_A_GROUP = 16


def draw_chips(labels: NDArray[np.int64], size: int, seed: int) -> NDArray[np.uint8]:
    """Return noise with a red patch for label 0 or a blue one for label 1 at a random place: learnable, not trivial."""
    random = np.random.default_rng(seed)
    pixels = random.integers(60, 180, (len(labels), size, size, 3), dtype=np.uint8)
    side = size // 2
    for chip, label in zip(pixels, labels, strict=True):
        top, left = random.integers(0, size - side, 2)
        chip[top : top + side, left : left + side, 0 if label == 0 else 2] += 70
    return pixels


def make_features(
    root: Path,
    faces: dict[str, tuple[int, int]] | None = None,
    size: int = 32,
    shards: int = 2,
    miap: bool = False,
) -> Manifest:
    """Write a features attempt below `root` and return its manifest.

    Args:
        root: The storage root.
        faces: Faces of each label in each split.
        size: Width and height of the chips in pixels.
        shards: Parquet files a split, each of several row groups.
        miap: Whether the release had MIAP's files, which agree with all labels; without them their columns are NULL.
    """
    faces = faces or {"train": (40, 40), "validation": (12, 12), "test": (10, 10)}
    uri = storage.join(storage.normalize(root), "stages/featurize/0f/attempts/first")
    files: list[File] = []
    sums: dict[str, list[int]] = {}
    label_sums: dict[str, dict[str, list[int]]] = {}
    for number, (split, counts) in enumerate(faces.items()):
        labels = np.random.default_rng(number).permutation(np.repeat(np.arange(len(counts)), counts))
        pixels = draw_chips(labels, size, seed=number)
        sums[split] = [int(pixels[..., channel].sum(dtype=np.int64)) for channel in range(3)]
        label_sums[split] = {
            label: pixels[labels == index].sum(axis=(0, 1, 2), dtype=np.int64).tolist()
            for index, label in enumerate(LABELS)
        }
        for shard, rows in enumerate(np.array_split(np.arange(len(labels)), shards)):
            path = f"{split_table(split)}/part-{shard:05d}.parquet"
            target = storage.local_path(storage.join(uri, path))
            assert target is not None
            target.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(_table(split, rows, labels, pixels, miap), target, row_group_size=ROWS_A_GROUP)
            files.append(File(path=path, bytes=target.stat().st_size, rows=len(rows)))
    manifest = Manifest(
        stage="featurize",
        version=1,
        key="0f",
        attempt="first",
        uri=uri,
        config={},
        inputs={},
        sources={},
        files=files,
        metrics={
            "labels": list(LABELS),
            "chip_size": size,
            "margin": 0.2,
            "chip_class": "Human face",
            "faces": {split: dict(zip(LABELS, counts, strict=True)) for split, counts in faces.items()},
            "channel_sums": sums,
            "label_sums": label_sums,
        },
        ledger={},
        versions={},
        started="2020-01-01T00:00:00+00:00",
        finished="2020-01-01T00:00:00+00:00",
    )
    storage.write_bytes(storage.join(uri, "manifest.json"), manifest.model_dump_json().encode())
    return manifest


def _table(
    split: str, rows: NDArray[np.int64], labels: NDArray[np.int64], pixels: NDArray[np.uint8], miap: bool
) -> pa.Table:
    count = len(rows)
    hashes = {"train": 1, "validation": 2, "test": 3}[split] * 100_003 + rows
    return pa.table(
        {
            "face_id": [f"{split}-{row}" for row in rows],
            "image_id": [f"{split}-image-{row}" for row in rows],
            "label": pa.array(labels[rows], pa.int8()),
            "pixels": pa.array([pixels[row].tobytes() for row in rows], pa.binary()),
            "rotation": pa.array([0] * count, pa.int32()),
            "face_px": pa.array([40.0] * count, pa.float32()),
            "is_occluded": pa.array([0] * count, pa.int8()),
            "is_truncated": pa.array([-1] * count, pa.int8()),
            "source": ["xclick"] * count,
            "brightness": pixels[rows].mean(axis=(1, 2, 3)) / 255,
            # A multiple of an odd constant, so that no two of a few thousand are near-duplicates.
            "image_hash": pa.array(
                (hashes.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)).view(np.int64), pa.int64()
            ),
            "box_aspect": np.linspace(1.0, 1.5, count),
            "miap_label": pa.array(np.array(LABELS)[labels[rows]] if miap else [None] * count, pa.string()),
            "age_presentation": pa.array(["Middle" if miap else None] * count, pa.string()),
            "source_class": np.array(["Woman", "Man"])[labels[rows]],
        }
    )


@functools.cache
def mlflow_database() -> bytes:
    """Return MLflow's database without experiments; each test process makes it once, since this takes seconds."""
    with tempfile.TemporaryDirectory() as folder:
        experiments.connect(f"sqlite:///{folder}/mlflow.db").search_experiments()
        return Path(folder, "mlflow.db").read_bytes()


def make_run(root: Path, features: Manifest, database: bool = True, **values: Any) -> Run:
    """Make a run that pins the features; the values are fields of its configuration.

    Args:
        root: The storage root.
        features: The features attempt.
        database: Put an empty database of MLflow there, so that none has to be made.
        values: Fields of the configuration.
    """
    uri = layout.mlflow_database_uri(storage.normalize(root))
    if database and not storage.exists(uri):
        storage.write_bytes(uri, mlflow_database())
    config = TrainingConfig(
        **{"epochs": 2, "batch_size": 16, "min_faces": 5, "augment": False, "mixing": 0.0, **values}
    )
    sources = {"tables": "t", "photographs": "p", "reference": ""}
    run = Run(storage.normalize(root), slug("test"), "test", config, sources)
    run.pin(features)
    return run


def make_context(run: Run, attempt: str = "a", stage: str = "train") -> Context:
    """Return the context that `run_stage` gives the body of stage train, with a stage's view of the configuration."""
    made = execution.make_context(run, STAGES["train"], attempt)
    return dataclasses.replace(made, config=ConfigView(run.config, STAGES[stage]))
