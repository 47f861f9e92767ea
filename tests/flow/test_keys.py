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
        "chip, a delivery": "4adc4f4009fb3da87ef6ac8c9337ac6d",
        "chip": "57b8610c79a17a041014d409e2449acb",
        "featurize": "1f557093195b45668acbdaeb24b2e6f3",
        "train": "b0bbc7de6e0716eed2e97e8fd98cfdf3",
        "evaluate": "0a986965dcdfaea7766efc7ad09e6dca",
        "suspects": "b2ee8cca6760e9a0240bfd27f49208b5",
        "compare": "a67477b954355faf1281218e2fbddc32",
        "predict": "f0ce335d9d5ee06f885025282996be34",
    },
    "odd": {
        "extract, a delivery": "6f2141ed26e2267e17bb32c24266dbe3",
        "extract": "2dc0e83bd0bfad442938ffed6e254ca7",
        "explore": "8d25e20041692a498a1e5042b20c1dcd",
        "join_labels": "64633c1e1dcc31993503fbfffe1737cc",
        "chip, a delivery": "b1359ccf864159cf1248d588b0e4ed40",
        "chip": "a28f285daffdfc35cebe9015f8cc3e92",
        "featurize": "2d6f0e28c83a1521c4870316cf8f046b",
        "train": "13eaec5ac9c93b27e43cf48a30e18f17",
        "evaluate": "e86f0cabe3a53049c6c1f0a26c29fbce",
        "suspects": "ed0162a4a3fa768a0f553345d9b5acf1",
        "compare": "fda3d6052636df5c23bc06d7e0c92e15",
        "predict": "28fb385bae1f20b2e8b637c691cf44b1",
    },
}


@pytest.mark.parametrize("title", ["default", "odd"])
def test_no_stage_has_another_key_than_before(title):
    assert all_keys()[title] == GOLDEN[title]


if __name__ == "__main__":
    import pprint

    pprint.pprint(all_keys(), sort_dicts=False, width=120)
