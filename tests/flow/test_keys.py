"""The keys of all stages do not change, because a changed key makes all finished work count as not done.

A key may change only with the version of its stage, for a reason that the commit gives.
`python tests/flow/test_keys.py` prints the current keys.
"""

import pytest

from ml.config.prediction import PredictionConfig
from ml.config.training import TrainingConfig
from ml.flow.table import PREDICT, STAGES

SOURCES = {name: f"digest of {name}" for name in ("delivery", "tables", "photographs", "listings", "faces", "model")}
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
        found[title] = keys
    return found


GOLDEN: dict[str, dict[str, str]] = {
    "default": {
        "extract, a delivery": "5d371efdb1dd5eaf217271b563f03654",
        "extract": "af5302cd7bbf9535f73d9bb693114c3a",
        "explore": "7e0cc812266953b245f93ede6a3cbc95",
        "join_labels": "fa0696c601769c0be047f085f822bc4a",
        "chip, a delivery": "79999c78e48ab0cbe3384b523856269c",
        "chip": "fc2542345d9dd58ad8f3770a6c28cac6",
        "featurize": "1b78635e8143d504ea4828a75085b8ea",
        "train": "266972ac9b2c20c8d6073be31316f54e",
        "evaluate": "dfd72073c1c9532ec6965d19667437a6",
        "compare": "62f58f6e338c8d0de140af7df9e0aa81",
        "predict": "dfaed217c7bb824600365ebf89cab327",
    },
    "odd": {
        "extract, a delivery": "6f2141ed26e2267e17bb32c24266dbe3",
        "extract": "2dc0e83bd0bfad442938ffed6e254ca7",
        "explore": "8d25e20041692a498a1e5042b20c1dcd",
        "join_labels": "64633c1e1dcc31993503fbfffe1737cc",
        "chip, a delivery": "3f2a3bbb03ee4996c3633d16ec47e127",
        "chip": "d85e87e8b62f61fa1bef613d61c04e6c",
        "featurize": "a341941ee0a5d711b3ea05f5de259600",
        "train": "33c9a593f02943bbbb977a9c412d7f7d",
        "evaluate": "20ece481e7a7293afac1dba2ce90023a",
        "compare": "454c3976d55aceab7a7f57a1bd2981fa",
        "predict": "bc23e57d81fb3243394034b8209c21d1",
    },
}


@pytest.mark.parametrize("title", ["default", "odd"])
def test_no_stage_has_another_key_than_before(title):
    assert all_keys()[title] == GOLDEN[title]


if __name__ == "__main__":
    import pprint

    pprint.pprint(all_keys(), sort_dicts=False, width=120)
