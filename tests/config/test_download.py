"""The parameters of a download: how the command line spells lists and objects, and what is refused."""

import pytest
import yaml

from ml.config.deployment import load_deployment
from ml.config.download import DownloadConfig
from ml.config.parameter import validate
from ml.errors import ConfigurationError


def test_lists_and_objects_can_be_given_as_text():
    given = {"classes": "Cat, Dog", "subsets": '{"train": 1}', "balance": "{}", "images": "300"}
    config = validate(given, DownloadConfig())
    assert config.classes == ["Cat", "Dog"]
    assert config.subsets == {"train": 1.0}
    assert config.balance == {}
    assert config.images == 300


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"subsets": '{"train": 0.5}'}, "the shares must add up to 1, not to 0.5"),
        ({"subsets": '{"all": 1}'}, "subsets"),
        ({"subsets": "train"}, "must be a JSON object"),
        ({"balance": '{"cat": ["Cat"]}'}, "at least two labels"),
        ({"balance": '{"a": ["Cat"], "b": ["Cat"]}'}, "must not name a class twice: Cat"),
        ({"classes": ""}, "classes"),
        ({"images": 0}, "at least 1"),
        ({"photographs_url": "ftp://host/photographs"}, "photographs_url"),
        ({"landing": ""}, "landing"),
    ],
)
def test_what_makes_no_sense_is_refused(given, told):
    with pytest.raises(ConfigurationError, match=told):
        validate(given, DownloadConfig())


def test_a_deployment_names_its_mirrors_and_its_schedule(tmp_path, monkeypatch):
    own = {"annotations_url": "https://mirror.example/openimages", "connections": 8}
    content = {"ingest_schedule": "0 0 1 * *", "download": own, "epochs": 3}
    (tmp_path / "deployment.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.setenv("OPEN_IMAGES_CONFIG", str(tmp_path / "deployment.yaml"))
    deployment = load_deployment()
    assert deployment.download == DownloadConfig(**own)
    assert deployment.ingest_schedule == "0 0 1 * *"
    (tmp_path / "deployment.yaml").write_text("download: {connections: many}")
    with pytest.raises(ConfigurationError, match=r"connections = 'many'.*at least 1 and at most 1024"):
        load_deployment()
