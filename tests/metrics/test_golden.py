"""The JSON of metrics, held at what it was: runs that were made before must still open, and pages read its keys."""

import json
from pathlib import Path

import numpy as np
import pytest

from ml.flow.records import Agreement
from ml.metrics import comparison
from ml.metrics.predictions import TestPredictions
from ml.stages.evaluate import measure

GOLDEN = Path(__file__).parent / "golden"
COUNTED = {
    "train": {"box": Agreement(agree=9, disagree=1, miap_unknown=5)},
    "test": {"box": Agreement(agree=0, disagree=0, miap_unknown=1)},
}


def answered(seed):
    """Make answers to 160 made-up faces, two on an image; the seed changes the probabilities alone."""
    data, random, count = np.random.default_rng(1), np.random.default_rng(seed), 160
    truth = data.integers(0, 2, count)
    columns = {
        "image_id": (np.arange(count) // 2).astype(str),
        "source": np.where(np.arange(count) % 3, "xclick", "activemil"),
        "rotation": np.repeat([0, 90], count // 2),
        "is_occluded": data.integers(-1, 2, count),
        "face_px": data.uniform(32, 200, count),
        "miap_label": np.where(np.arange(count) % 4, np.array(["female", "male"])[truth], None),
    }
    second = np.clip(np.round(0.5 + 0.25 * (2 * truth - 1) + random.normal(0, 0.2, count), 3), 0.01, 0.99)
    return TestPredictions(("female", "male"), 0.45, truth, np.stack([1 - second, second], axis=1), columns)


def same(found, golden, where=""):
    """Check keys with their order and all values, numbers up to what processors differ by."""
    if isinstance(golden, dict):
        assert list(found) == list(golden), where
        for key, value in golden.items():
            same(found[key], value, f"{where}.{key}")
    elif isinstance(golden, list):
        assert len(found) == len(golden), where
        for number, value in enumerate(golden):
            same(found[number], value, f"{where}[{number}]")
    else:
        assert type(found) is type(golden), where
        assert found == (pytest.approx(golden, abs=1e-9) if isinstance(golden, float) else golden), where


@pytest.mark.parametrize(
    ("name", "measured"),
    [
        ("metrics.json", lambda: measure(answered(2), 1.3, 0.75, COUNTED)),
        ("comparison.json", lambda: comparison.measure(answered(2), answered(3))),
    ],
)
def test_the_json_has_the_keys_order_and_values_that_it_had(name, measured):
    found = json.loads(json.dumps(measured().json_values(), allow_nan=False))
    same(found, json.loads((GOLDEN / name).read_text()))
