"""A function of the user's own is found without being imported, and its digest follows its source."""

import pytest

from ml.config.sweep import SweepConfig
from ml.config.training import TrainingConfig
from ml.flow.code import code_digest, is_code, missing
from ml.flow.table import STAGES, SWEEP

NETWORK = "raise SystemExit('imported')\n\ndef build(chip_size, labels_count):\n    pass\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package on Python's path that ends the process when it is imported."""
    folder = tmp_path / "ours"
    (folder / "deep").mkdir(parents=True)
    for name in ("__init__.py", "deep/__init__.py", "helper.py"):
        (folder / name).write_text("")
    (folder / "deep" / "small.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def key_of(network):
    config = TrainingConfig(network=network)
    return STAGES["train"].key(config, {"featurize": "0a"}, {})


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("ours.deep.small:build", True),
        ("ours:build", True),
        ("compact", False),
        ("transfer:MobileNetV2", False),
        ("ours.small", False),
        ("ours/small.py:build", False),
        ("ours:build()", False),
        ("ours..small:build", False),
    ],
)
def test_the_form_of_a_name(name, code):
    assert is_code(name) == code


def test_the_key_follows_every_file_of_the_package(package):
    name = "ours.deep.small:build"
    before = key_of(name)
    assert key_of(name) == before
    (package / "helper.py").write_text("WIDTH = 32\n")
    changed = key_of(name)
    assert changed != before
    (package / "new.py").write_text("")
    assert key_of(name) != changed
    (package / "notes.txt").write_text("no code")
    (package / "new.py").unlink()
    assert key_of(name) == changed


def test_the_key_of_a_sweep_follows_the_networks_of_its_grid(package):
    config = SweepConfig(grid={"network": ["compact", "ours.deep.small:build"]})
    before = SWEEP.key(config, {"featurize": "0a"}, {})
    assert SWEEP.key(config, {"featurize": "0a"}, {}) == before
    (package / "helper.py").write_text("WIDTH = 32\n")
    assert SWEEP.key(config, {"featurize": "0a"}, {}) != before


def test_a_module_without_a_package_is_its_one_file(tmp_path, monkeypatch):
    (tmp_path / "alone.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = code_digest("alone:build")
    (tmp_path / "neighbor.py").write_text("")
    assert code_digest("alone:build") == before
    (tmp_path / "alone.py").write_text(NETWORK + "\n")
    assert code_digest("alone:build") != before
    assert missing("alone:build") is None


def test_what_is_missing_is_said(package):
    assert missing("ours.deep.small:build") is None
    assert missing("nowhere_to_be_found:build") == "there is no package or module nowhere_to_be_found on Python's path"
    assert missing("ours.large:build") == f"there is no module ours.large in {package}"
    assert missing("ours.deep.small:other") == f"{package / 'deep' / 'small.py'} defines no other"
    (package / "helper.py").write_text("def (")
    assert "helper.py is not Python" in missing("ours.helper:build")
    assert code_digest("nowhere_to_be_found:build") == ""
