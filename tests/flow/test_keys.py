"""The keys of all stages do not change, because a changed key makes all finished work count as not done.

A key may change only with the version of its stage, for a reason that the commit gives.
`python tests/flow/test_keys.py` prints the current keys.
"""

import pytest

from ml.config.prediction import PredictionConfig
from ml.config.training import TrainingConfig
from ml.flow.table import PREDICT, STAGES

NAMES = ("delivery", "tables", "photographs", "listings", "faces", "reference", "model")
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
        "extract, a delivery": "fbbf0fab6679f12ce54719157cb94a80",
        "extract": "72a16e59195f1259f9c3c8c96f00c88a",
        "join_labels": "1c6a5fab67065d14bc27eea8d81b25b0",
        "chip, a delivery": "4adc4f4009fb3da87ef6ac8c9337ac6d",
        "chip": "57b8610c79a17a041014d409e2449acb",
        "featurize": "84b8d4829387c0f220eed6e7580ead19",
        "explore": "aadb06c9dcb4e0df04b5ab4aab7081c2",
        "train": "50d09afa664d28f7aad34421f4fdba4b",
        "evaluate": "e6c1837891b0bd66da5c81573a32dce9",
        "compare": "e942ce5e33e70f385863549ca80d1b3c",
        "predict": "f0ce335d9d5ee06f885025282996be34",
    },
    "odd": {
        "extract, a delivery": "903770523867397e3c72990108f83605",
        "extract": "7c8dd6814e85d9a94df02a11688a84bc",
        "join_labels": "a1ee23cc6ac283ae5396b532cc38a747",
        "chip, a delivery": "b1359ccf864159cf1248d588b0e4ed40",
        "chip": "a28f285daffdfc35cebe9015f8cc3e92",
        "featurize": "4df5f50838eef3af9e26888b3de8d879",
        "explore": "50a36315f0908d721bb5e43fed1cf642",
        "train": "0c760c6af6412bbd4f664655b0331ace",
        "evaluate": "a47194f3d261eb4e8c7010409b377b24",
        "compare": "987e6b3b37089d0bf2ccb88274177905",
        "predict": "28fb385bae1f20b2e8b637c691cf44b1",
    },
}


@pytest.mark.parametrize("title", ["default", "odd"])
def test_no_stage_has_another_key_than_before(title):
    assert all_keys()[title] == GOLDEN[title]


if __name__ == "__main__":
    import pprint

    pprint.pprint(all_keys(), sort_dicts=False, width=120)
