"""The keys of all stages do not change, because a changed key makes all finished work count as not done.

A key may change only with the version of its stage, for a reason that the commit gives.
`python tests/flow/test_keys.py` prints the current keys.
"""

import pytest

from ml.config.prediction import PredictionConfig
from ml.config.sweep import SweepConfig
from ml.config.training import TrainingConfig
from ml.flow.table import MONITOR, PREDICT, STAGES, SWEEP

NAMES = ("delivery", "tables", "photographs", "listings", "faces", "reference", "model", "evaluation")
SOURCES = {name: f"digest of {name}" for name in NAMES}
ODD = TrainingConfig(
    release="s3://bucket/landing",
    as_of="2024-02-29",
    retrain_without_news=True,
    photographs="https://example.org/photographs",
    chip_class="Cat",
    labels={"wild": ["Tiger", "Lion"], "tame": ["Dog"]},
    label_strategy="image",
    containment=0.75,
    images_per_label=150,
    max_fault_share=0.25,
    min_face_size=40,
    margin=0.1,
    chip_size=224,
    split="digest",
    validation_share=0.2,
    test_share=0.1,
    network="transfer:MobileNetV2",
    backbone_weights="none",
    frozen_epochs=5,
    epochs=7,
    batch_size=16,
    optimizer="adamw",
    learning_rate=0.002,
    schedule="constant",
    weight_decay=0.01,
    label_smoothing=0.0,
    averaging=0.0,
    augment=False,
    mixing=0.0,
    patience=3,
    checkpoint_minutes=1.5,
    balance=False,
    min_faces=5,
    exclude_faces="/data/faces.csv",
    seed=7,
    threshold=0.4,
    min_confidence=0.6,
    baseline="/storage/stages/train/key/attempts/attempt",
    force="chip",
)
PREDICTIONS = {
    "default": PredictionConfig(),
    "odd": PredictionConfig(
        photographs="s3://bucket/photographs", max_fault_share=0.5, model="3", min_confidence=0.9, sample=7
    ),
}
SWEEPS = {
    "default": SweepConfig(),
    "odd": SweepConfig(
        **ODD.model_copy(update={"force": None, "baseline": None}).model_dump(), grid={"epochs": [3, 5]}, seeds=2
    ),
}


def all_keys() -> dict[str, dict[str, str]]:
    """Return each stage's key by configuration, with made-up digests of the sources."""
    found: dict[str, dict[str, str]] = {}
    for title, config in (("default", TrainingConfig()), ("odd", ODD)):
        keys: dict[str, str] = {}
        for stage in STAGES.values():
            if stage.by_delivery:
                parts = {day: stage.part_key(config, {**SOURCES, "delivery": day}) for day in ("2024-01-01", "release")}
                keys[f"{stage.name}, a delivery"] = parts["release"]
                keys[stage.name] = stage.collected_key(parts)
            else:
                keys[stage.name] = stage.key(config, keys, SOURCES)
        keys[PREDICT.name] = PREDICT.key(PREDICTIONS[title], {}, SOURCES)
        keys[MONITOR.name] = MONITOR.key(PREDICTIONS[title], keys, SOURCES)
        keys[SWEEP.name] = SWEEP.key(SWEEPS[title], keys, SOURCES)
        found[title] = keys
    return found


GOLDEN: dict[str, dict[str, str]] = {
    "default": {
        "extract, a delivery": "fbbf0fab6679f12ce54719157cb94a80",
        "extract": "72a16e59195f1259f9c3c8c96f00c88a",
        "join_labels": "1c6a5fab67065d14bc27eea8d81b25b0",
        "chip, a delivery": "79999c78e48ab0cbe3384b523856269c",
        "chip": "fc2542345d9dd58ad8f3770a6c28cac6",
        "featurize": "8f7c380bd26a7b9375b678c57ae250ea",
        "explore": "d4b7a750a2beea881d3f67a2defa422e",
        "train": "62f1b528cc89aef6f30291a402082f29",
        "evaluate": "3bb41bc87b29c2b08d0ec72e9ea83fe5",
        "suspects": "54f8adb23fb4cb789f4ec7fcc773a350",
        "compare": "da886dadee303f2524b853ae1ec8c6b8",
        "predict": "08040ad4e8797edf0e9cbcfaaf5abb2c",
        "monitor": "86fe510a49998667dd37e9d86fbc8c39",
        "sweep": "5487e4ce53b4d62cb1aa440c53e265b1",
    },
    "odd": {
        "extract, a delivery": "903770523867397e3c72990108f83605",
        "extract": "7c8dd6814e85d9a94df02a11688a84bc",
        "join_labels": "a1ee23cc6ac283ae5396b532cc38a747",
        "chip, a delivery": "3f2a3bbb03ee4996c3633d16ec47e127",
        "chip": "d85e87e8b62f61fa1bef613d61c04e6c",
        "featurize": "1c3864f39e1bb26cfe506cbbbc49c741",
        "explore": "a5025e14e4a3a0e8fce1629bf97c869a",
        "train": "1ffede46e1317b0e8d3fece61c555b88",
        "evaluate": "54b8146efe02f37bf28a515848e3a307",
        "suspects": "fba3e7c0dd2ce5e9e206e4f4ddff8c94",
        "compare": "e9e5460819f1377ccbd4418d44090b95",
        "predict": "419284ecd68ae7aed8bc0b1cbc9c8271",
        "monitor": "763d0dce6e7cad24ef0f44dc253a6424",
        "sweep": "29660f124996a2c6700a1da20c7d4679",
    },
}


@pytest.mark.parametrize("title", ["default", "odd"])
def test_no_stage_has_another_key_than_before(title):
    assert all_keys()[title] == GOLDEN[title]


if __name__ == "__main__":
    import pprint

    pprint.pprint(all_keys(), sort_dicts=False, width=120)
