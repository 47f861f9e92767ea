"""The tables that the Spark stages leave keep the contract."""

import dataclasses

from ml.features.outputs import OUTPUTS
from support.outputs import faults_of
from support.spark_stages import BODIES


def test_every_table_of_the_training_flow_keeps_the_contract(done):
    assert faults_of(*(done.pinned(stage) for stage in BODIES)) == []


def test_a_table_or_a_column_that_is_not_declared_is_found(done, monkeypatch):
    classes = OUTPUTS["extract", "classes"]
    monkeypatch.delitem(OUTPUTS, ("extract", "quarantine"))
    monkeypatch.setitem(OUTPUTS, ("extract", "classes"), dataclasses.replace(classes, columns=classes.columns[:-1]))
    assert faults_of(done.pinned("extract")) == ["classes.chipped: not declared", "extract.quarantine: not declared"]


def test_a_declared_table_that_is_missing_is_found(done, monkeypatch):
    monkeypatch.setitem(OUTPUTS, ("chip", "more"), dataclasses.replace(OUTPUTS["chip", "chips"], name="more"))
    assert faults_of(done.pinned("chip")) == ["chip.more: missing"]
