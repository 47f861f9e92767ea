"""The profile of a run's data comes from the records of its stages, and tells drift from the reference's."""

import json
from types import SimpleNamespace

import pytest

from ml import storage
from ml.flow.profile import DataProfile
from ml.flow.table import STAGES
from ml.release.delivery import Delivery
from ml.stages.drift import SETTINGS, data_profile, drift_summary, look_for_drift
from ml.workflow.manifest import Manifest
from ml.workflow.reference import Reference
from support.profiles import make_profile

NULLS = {"repeated": 0, "no verdict": 0, "unknown class": 0}
BOXES = {"unknown class": 0, "invalid": 0, "kept": 9, "kept invalid": 0, "chipped": 9}
AGREEMENT = {"agree": 30, "disagree": 10, "miap unknown": 3}
FLOW = make_profile()
RECORDS = {
    "extract": {
        "rows": {"images": 20, "boxes": 90},
        "nulls": {},
        "labels": NULLS,
        "boxes": BOXES,
        "images": {"rotation unknown": 0, "turned": 0},
    },
    "explore": {
        "top classes": [{"mid": "/m/1", "name": "Tree", "negative": 2, "positive": 5}],
        "verified images": [],
        "faces per image": {},
        "face sizes": {"edges, per cent of the photograph's side": [0, 1], "faces": [3]},
        "boxes by source": [],
        "balance": [],
        "plots": {},
        "report": "",
    },
    "join_labels": {
        "faces": 60,
        "labelled": {"female": 25, "male": 20},
        "flags unknown": {},
        "miap": {
            "train": {"box": AGREEMENT, "image": {"agree": 1, "disagree": 1, "miap unknown": 0}},
            "test": {"box": {"agree": 5, "disagree": 0, "miap unknown": 0}},
        },
        "asked": {},
    },
    "chip": {},
    "featurize": {
        "labels": ["female", "male"],
        "chip_size": 32,
        "chip_class": "Human face",
        "margin": 0.2,
        "faces": {"train": {"female": 20, "male": 10}, "test": {"female": 4, "male": 6}},
        "channel_sums": {},
        "label_sums": {},
        "histograms": {name: found.json_values() for name, found in FLOW.histograms.items()},
    },
}
LEDGERS = {"join_labels": {"labelled": 45, "no person box": 15}, "chip": {"chipped": 40, "too small": 5}}


@pytest.fixture
def context(tmp_path):
    """Return the context of stage evaluate in a run with these records."""

    def make(*stages, reference=None):
        inputs = {
            name: Manifest(
                stage=name,
                version=1,
                key="key",
                attempt="a",
                uri=f"{tmp_path}/{name}",
                config={},
                inputs={},
                sources={},
                files=[],
                metrics=RECORDS[name],
                ledger=LEDGERS.get(name, {}),
                versions={},
                started="2020-01-01T00:00:00+00:00",
                finished="2020-01-01T00:00:00+00:00",
            )
            for name in stages or RECORDS
        }
        run = SimpleNamespace(
            run_id="now",
            as_of="2024-03-01T00:00:00+00:00",
            deliveries=(Delivery(name="release", uri="u", tables="t", photographs="p"),),
            parameters={"label_strategy": "box", "min_face_size": 32, "seed": 1, "epochs": 9},
            reference=lambda: reference,
        )
        uri = storage.normalize(tmp_path / "attempt")
        return SimpleNamespace(run=run, inputs=inputs, uri=uri, path=lambda *parts: storage.join(uri, *parts))

    return make


def test_the_profile_gathers_what_the_stages_counted(context):
    found = data_profile(context())
    assert found.rows == {"images": 20, "boxes": 90}
    assert found.categories == {
        "labels": {"female": 24, "male": 16},
        "splits": {"train": 30, "test": 10},
        "outcomes": {"labelled": 45, "no person box": 15},
        "chips": {"chipped": 40, "too small": 5},
        "classes": {"Tree": 5},
        "agreement": {"agree": 35, "disagree": 10},  # of the run's strategy, in all subsets
    }
    assert found.histograms == FLOW.histograms
    assert found.deliveries == {"release": "t p"}
    assert found.settings == {"label_strategy": "box", "min_face_size": 32}


def test_the_settings_are_the_parameters_of_the_stages_up_to_the_features():
    assert {"labels", "min_face_size", "chip_size", "split"} <= set(SETTINGS)
    assert not {"seed", "max_fault_share", "epochs"} & set(SETTINGS)
    assert set(SETTINGS) <= {field for stage in STAGES.values() for field in stage.fields}


def test_without_the_other_stages_the_profile_is_that_of_the_features(context):
    found = data_profile(context("featurize"))
    assert set(found.categories) == {"labels", "splits"}
    assert found.rows == {}


def test_without_a_reference_only_the_profile_is_written(context):
    made = context()
    assert look_for_drift(made) == (None, {})
    written = DataProfile.model_validate(storage.read_json(made.path("profile.json")))
    assert written == data_profile(made)
    assert not storage.exists(made.path("drift.json"))


def test_drift_is_measured_written_drawn_logged_and_summed_up(context, caplog):
    old = make_profile(size=300.0, run_id="before")
    made = context(reference=Reference(attempt="file:///storage/a", champion=2, profile=old))
    drift, figures = look_for_drift(made)
    assert set(figures) == {"drift_distributions", "drift_shares"}
    assert all(b"<svg" in picture[:400] for picture in figures.values())
    assert json.loads(storage.read_bytes(made.path("drift.json"))) == drift.json_values()
    summary = drift_summary(made, drift)
    assert (summary.level, summary.run_id) == ("large", "before")
    assert summary.line.startswith("Data drift (large) against run before (champion, version 2). All data: ")
    assert "face size in pixels (PSI " in summary.line
    assert [(record.levelname, record.message) for record in caplog.records] == [("WARNING", summary.line)]
