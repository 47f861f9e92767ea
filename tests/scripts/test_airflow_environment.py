"""The deployment files that the project ships and writes: their defaults exist."""

from pathlib import Path

import pytest
import yaml

import airflow_environment
from ml.config.deployment import load_deployment
from ml.prediction.listing import list_photographs

ROOT = Path(__file__).parents[2]


def test_the_form_of_predictions_starts_with_photographs_that_exist(sample_release, tmp_path, monkeypatch):
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "sample-release").symlink_to(sample_release)
    written = airflow_environment.ensure_deployment(tmp_path)
    monkeypatch.setenv("OPEN_IMAGES_CONFIG", str(written))
    deployment = load_deployment()
    assert list(list_photographs(deployment.prediction.photographs))
    assert deployment.allowed().holds(deployment.prediction.photographs)
    assert deployment.allowed().holds("/data/open-images"), "README names such a release"


@pytest.mark.parametrize("name", ["docker/deployment.yaml", "docker/deployment-s3.yaml", "kubernetes/configmap.yaml"])
def test_the_deployment_files_predict_photographs_of_their_own_release(name):
    content = yaml.safe_load((ROOT / name).read_text())
    if "data" in content:
        content = yaml.safe_load(content["data"]["deployment.yaml"])
    assert content["prediction"]["photographs"].startswith(content["release"] + "/")
