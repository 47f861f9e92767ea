"""How far the training of a run has come, for its report while the stage train runs. Loads no TensorFlow."""

from __future__ import annotations

import logging
from typing import Any

from pydantic import ValidationError

from ml import storage
from ml.model.record import TrainingProgress
from ml.workflow import layout
from open_images.web.folders import RunFolder

log = logging.getLogger(__name__)


def training_progress(folder: RunFolder) -> dict[str, Any] | None:
    """Return epoch, speed, time left and the history of a run's unfinished training; None if there is none."""
    uri = layout.progress_uri(layout.run_uri(folder.root, folder.slug))
    try:
        found = TrainingProgress.model_validate(storage.read_json(uri))
    except FileNotFoundError:
        return None
    except (ValidationError, ValueError) as damage:
        log.warning("%s: %s", uri, damage)
        return None
    return {**found.json_values(), "epoch": found.epoch, "summary": found.summary}
