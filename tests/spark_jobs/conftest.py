"""Fixtures for the tests of several Spark stages: one run on the drawn release."""

import pytest

from ml.workflow.opening import open_run
from support.spark_stages import BODIES, do


@pytest.fixture(scope="session")
def done(spark, sample_release, tmp_path_factory):
    """Execute all Spark stages of a run on the drawn release."""
    root = tmp_path_factory.mktemp("storage")
    run = open_run(str(root), "spark", {"release": str(sample_release), "min_face_size": 24, "chip_size": 48})
    return do(spark, run, *BODIES)
