"""Training contexts and histories for the tests of tracking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ml.model.record import EpochRow
from ml.workflow.execution import Context
from ml.workflow.manifest import Manifest
from ml.workflow.run import slug
from support.features import make_context, make_run
from support.training import make_epoch


def context_of(root: Path, features: Manifest, run_id: str, attempt: str = "a", **values: Any) -> Context:
    run = make_run(root, features, **values, database=False)
    object.__setattr__(run, "run_id", run_id)
    object.__setattr__(run, "slug", slug(run_id))
    run.pin(features)
    return make_context(run, attempt)


def rows(*epochs: int) -> list[EpochRow]:
    return [make_epoch(epoch, loss=1 / epoch, val_loss=2 / epoch, val_accuracy=0.5) for epoch in epochs]
