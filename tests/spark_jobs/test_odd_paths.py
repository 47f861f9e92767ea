"""A path with characters that Spark takes for patterns works where it only is read, and is refused as the storage."""

import shutil

import pytest

from ml import storage
from ml.config.deployment import Deployment
from ml.doctor.storage_checks import check_storage
from ml.errors import ConfigurationError
from ml.prediction.run import open_prediction
from ml.workflow.opening import open_run
from support.spark_stages import BODIES, do, rows

ODD = "rel [v5] {a,b} *? \\d %20"


def test_a_release_and_photographs_at_an_odd_path_are_read(spark, done, sample_release, tmp_path):
    release = tmp_path / ODD / "release"
    shutil.copytree(sample_release, release)
    values = {"release": str(release), "photographs": str(release), "min_face_size": 24, "chip_size": 48}
    run = do(spark, open_run(str(tmp_path / "storage"), "run", values), *BODIES)
    for stage, table in (("join_labels", "faces"), ("chip", "chips"), ("featurize", "features")):
        assert rows(spark, run, stage, table) == rows(spark, done, stage, table)


@pytest.mark.parametrize("character", storage.PATTERN_CHARACTERS)
def test_a_storage_at_an_odd_path_is_refused_before_any_job(sample_release, tmp_path, character):
    root = tmp_path / f"a{character}b"
    for refused in (
        lambda: open_run(str(root), "run", {"release": str(sample_release)}),
        lambda: open_prediction(str(root), "run", {"photographs": str(sample_release)}, Deployment()),
    ):
        with pytest.raises(ConfigurationError) as raised:
            refused()
        assert f"has the character {character}" in raised.value.message
    state, answer, _ = check_storage(str(root))
    assert (state, f"has the character {character}" in answer) == ("fault", True)
    assert not root.exists()
