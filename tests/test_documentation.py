"""The README says what the code says."""

import re
import tomllib
from pathlib import Path

import pytest

from ml.config.clean_up import CleanUpConfig
from ml.config.forms import markdown_table
from ml.config.prediction import PredictionConfig
from ml.config.promotion import PromotionConfig
from ml.config.training import TrainingConfig

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    ("page", "name", "config"),
    [
        ("docs/parameters.md", "parameters", TrainingConfig),
        ("docs/parameters.md", "prediction parameters", PredictionConfig),
        ("docs/parameters.md", "maintenance parameters", CleanUpConfig),
        ("docs/promotion.md", "promotion parameters", PromotionConfig),
    ],
)
def test_the_parameters_tables_are_the_configurations(page, name, config):
    text = (ROOT / page).read_text()
    between = text.split(f"<!-- {name}: ")[1].split("-->", 1)[1].split(f"<!-- end of {name} -->")[0]
    assert between.strip() == markdown_table(config()).strip()


def test_every_link_and_picture_of_the_documentation_exists():
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_section_of_the_readme_that_a_message_names_is_there():
    code = "\n".join(
        path.read_text() for folder in ("ml", "plugins", "dags", "scripts") for path in ROOT.glob(f"{folder}/**/*.py")
    )
    named = set(re.findall(r"README, '([^']+)'", code))
    assert named
    assert named <= set(re.findall(r"^#+ (.*)$", README, re.MULTILINE))


def test_every_target_that_the_readme_names_is_in_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+(?:-[a-z]+)*)\b", README)) <= targets


def test_the_changelog_and_the_licence_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert "[Unreleased]" in (ROOT / "CHANGELOG.md").read_text()
