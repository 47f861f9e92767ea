"""The records of the data stages read and write the same JSON as manifests from before there were records."""

import json

import pytest

from ml.flow.exploration import Exploration, ExploreRecord
from ml.flow.records import ExtractRecord, LabelsRecord
from ml.flow.table import STAGES
from ml.workflow.collect import combine
from ml.workflow.manifest import Manifest

NO_NULLS = {"null": 0, "empty": 0, "nan": 0}
EXTRACTED = {
    "rows": {"labels": 463, "boxes": 402, "images": 60, "miap": 119},
    "nulls": {
        "labels": {"ImageID": NO_NULLS, "Confidence": NO_NULLS},
        "boxes": {"ImageID": NO_NULLS, "XMin": {"null": 1, "empty": 0, "nan": 2}},
        "images": {"Author": {"null": 3, "empty": 1, "nan": 0}},
        "miap": {"AgePresentation": NO_NULLS},
    },
    "labels": {"repeated": 5, "no verdict": 2, "unknown class": 1, "other classes": 0},
    "boxes": {"unknown class": 4, "invalid": 3, "kept": 237, "kept invalid": 2, "chipped": 119},
    "images": {"rotation unknown": 4, "turned": 16},
    "quarantined": {"labels": {"rows": 3, "by rule": {"not an allowed value": 2, "class not described": 1}}},
    "unlike published": [{"table": "boxes", "subset": "test", "rows": 937326, "published": 937327}],
    "miap": {
        "subsets": ["train", "validation", "test"],
        "other classes": 0,
        "kept": 119,
        "kept invalid": 1,
        "no gender_presentation": 2,
        "no age_presentation": 3,
    },
}
ANALYSES = {
    "top classes": [{"mid": "/m/0dzct", "name": "Human face", "negative": 0, "positive": 60}],
    "verified images": [{"label": "female", "all positive": 21, "with a negative": 19}],
    "faces per image": {"1": 24, "2": 16},
    "face sizes": {"edges, per cent of the photograph's side": [0, 1, 2], "faces": [4, 5]},
    "boxes by source": [{"source": "xclick", "flag": "IsOccluded", "1": 93, "0": 135, "-1": 0}],
}
BALANCE = [{"column": "subset", "title": "Subset", "rows": [{"name": "train", "faces": {"female": 3, "male": 4}}]}]
EXPLORED = {
    **ANALYSES,
    "balance": BALANCE,
    "plots": {"top_classes": "s3://bucket/top_classes.png"},
    "report": "s3://bucket/explore.html",
}
CREDIT = {"image_id": "0a", "author": None, "title": "t", "landing_url": "u", "license": "l"}
SHOWN = {
    **ANALYSES,
    "balance": BALANCE,
    "sheets": [{"name": "chip-chipped", "title": "chipped", "count": 9, "shown": ["0a-1"], "not shown": []}],
    "photographs shown": [CREDIT],
    "photographs on the page": [CREDIT],
}
AGREEMENT = {"agree": 70, "disagree": 1, "miap unknown": 2}
JOINED = {
    "faces": 119,
    "labelled": {"female": 7, "male": 6},
    "flags unknown": {"is_occluded": 1, "is_truncated": 0, "is_group_of": 0, "is_depiction": 0},
    "miap": {"train": {"box": AGREEMENT, "image": AGREEMENT}},
    "verified pairs": {"repeated": 4, "contradicted": 1},
    "asked": {"2024-01-01": {"faces": 13, "digest": "bae869f26a084eb5b0d7498e09504700"}},
}


def without_miap(values):
    return {name: value for name, value in values.items() if name != "miap"}


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (ExtractRecord, EXTRACTED),
        (ExtractRecord, without_miap(EXTRACTED)),
        (ExploreRecord, EXPLORED),
        (Exploration, SHOWN),
        (LabelsRecord, JOINED),
        (LabelsRecord, {**JOINED, "miap": None}),
    ],
)
def test_a_record_is_read_from_a_manifest_and_written_with_the_same_bytes(kind, values):
    assert json.dumps(kind.model_validate(values).json_values()) == json.dumps(values)


def part(values):
    return Manifest(
        stage="extract",
        version=3,
        key="key",
        attempt="attempt",
        uri="uri",
        config={},
        inputs={},
        sources={},
        files=[],
        metrics=values,
        ledger={},
        versions={},
        started="2024-01-01",
        finished="2024-01-01",
    )


def test_deliveries_with_and_without_miap_add_up_to_one_record():
    parts = {"2024-01-01": part(without_miap(EXTRACTED)), "2024-02-01": part(EXTRACTED)}
    whole = combine(STAGES["extract"], "key", "uri/whole", {}, {}, parts).record(ExtractRecord)
    assert whole.rows["boxes"] == 804
    assert whole.nulls["boxes"]["XMin"].nan == 4
    assert whole.boxes.chipped == 238
    assert whole.quarantined["labels"].by_rule == {"not an allowed value": 4, "class not described": 2}
    assert whole.miap == ExtractRecord.model_validate(EXTRACTED).miap
