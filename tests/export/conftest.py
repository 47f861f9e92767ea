"""Runs to export, and the readers' caches below the test's own folder, without a network."""

import os

import pytest

from ml.export.formats import Format
from ml.export.run import export_run
from support.exports import Face, Photograph, make_run

# `datasets` and the Hub's client read these when they are imported.
os.environ |= dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"), "1")
ODD = 'Zoë "Zed", Ltd.; l\'Été\nand 日本'


def faces_of_every_kind():
    """Faces that differ in what an export must keep apart, on photographs that differ in theirs."""
    ann = Photograph(1)
    odd = Photograph(2, author=ODD, title="a, b", size=(100, 30), rotation=90, license=None)
    nobody = Photograph(3, author=None, title=None)
    return [
        Face(ann),
        Face(ann, "male", (0.5, 1.0, 0.0, 0.3), flags={"is_occluded": 1, "is_group_of": -1}),
        Face(odd, "male"),
        Face(nobody),
        Face(Photograph(4), "male", split=None),
        Face(Photograph(5), chipped=False),
        Face(Photograph(6), reason="group"),
        Face(Photograph(7), reason="no person box"),
        Face(Photograph(8, "validation"), "male"),
        Face(Photograph(9, "test")),
        Face(Photograph(10, "test"), "male", split="validation"),
    ]


@pytest.fixture
def faces():
    return faces_of_every_kind()


@pytest.fixture
def run(tmp_path, faces):
    """A run that has done the data stages; no face of it is in the split `test` with the label male."""
    return make_run(tmp_path, faces)


@pytest.fixture
def export(tmp_path):
    """Export a run into a new folder, and return the folder and the record."""

    def export_(run, form):
        out = tmp_path / f"out-{form}"
        return out, export_run(run.uri, str(out), Format(form))

    return export_


@pytest.fixture
def load(tmp_path):
    """Load a folder with `datasets`, whose cache is below the test's own folder."""
    import datasets

    return lambda out: datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
