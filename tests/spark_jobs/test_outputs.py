"""The tables that the Spark stages leave keep the contract."""

from support.outputs import faults_of
from support.spark_stages import BODIES


def test_every_table_of_the_training_flow_keeps_the_contract(done):
    assert faults_of(*(done.pinned(stage) for stage in BODIES)) == []
