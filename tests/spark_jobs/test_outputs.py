"""The tables that the Spark stages leave keep the contract."""

import dataclasses

from ml.features.outputs import OUTPUTS
from support import outputs
from support.spark_stages import BODIES


def test_every_table_of_the_training_flow_keeps_the_contract(done):
    assert outputs.faults_of(*(done.pinned(stage) for stage in BODIES)) == []


def test_a_table_or_a_column_that_is_not_declared_is_found(done, monkeypatch):
    classes = OUTPUTS["extract", "classes"]
    changed = OUTPUTS | {("extract", "classes"): dataclasses.replace(classes, columns=classes.columns[:-1])}
    del changed["extract", "quarantine"]
    monkeypatch.setattr(outputs, "OUTPUTS", changed)
    found = ["classes.chipped: not declared", "extract.quarantine: not declared"]
    assert outputs.faults_of(done.pinned("extract")) == found


def test_a_declared_table_that_is_missing_is_found(done, monkeypatch):
    more = dataclasses.replace(OUTPUTS["chip", "chips"], name="more")
    monkeypatch.setattr(outputs, "OUTPUTS", OUTPUTS | {("chip", "more"): more})
    assert outputs.faults_of(done.pinned("chip")) == ["chip.more: missing"]
