"""Reference chips stored with a model, which show that it still predicts what it predicted after training."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml import storage
from ml.workflow.manifest import Manifest

REFERENCE = "reference.json"
REFERENCE_CHIPS = 8


def read_reference(manifest: Manifest) -> tuple[list[bytes], NDArray[np.float64]]:
    """The reference chips of a model as PNG files, and their probabilities, shape (n, labels)."""
    chips: list[dict[str, Any]] = storage.read_json(manifest.file(REFERENCE))["chips"]
    return [base64.b64decode(chip["png"]) for chip in chips], np.array([chip["probabilities"] for chip in chips])
