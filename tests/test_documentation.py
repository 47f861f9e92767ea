"""The documentation says what the code says, and can be read from one page to the next."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from ml.config.clean_up import CleanUpConfig
from ml.config.comparison import ModelsConfig
from ml.config.download import DownloadConfig
from ml.config.forms import markdown_table
from ml.config.prediction import PredictionConfig
from ml.config.promotion import PromotionConfig
from ml.config.training import TrainingConfig
from ml.flow.table import ALL_STAGES
from ml.object_store import spark_settings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md")))
GLOSSARY = (
    *("photograph", "image", "face", "box", "chip", "label", "subset", "split", "delivery", "landing", "run", "stage"),
    *("attempt", "key", "pin", "candidate", "champion", "reference", "profile", "drift"),
)


class SiteLoader(yaml.SafeLoader):
    """Read `mkdocs.yml`, whose extensions name Python functions."""


SiteLoader.add_multi_constructor("tag:yaml.org,2002:python/name:", lambda loader, suffix, node: suffix)


def prose(page):
    """Return the text of a page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def headings(page):
    """Return the text of every heading of a page, without those that are comments in its code."""
    return re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)


def anchor(heading):
    """Return the name by which a link finds a heading, on GitHub and in the site."""
    return re.sub(r"[^\w\s-]", "", heading).strip().lower().replace(" ", "-")


@pytest.mark.parametrize(
    ("page", "name", "config"),
    [
        ("docs/parameters.md", "parameters", TrainingConfig),
        ("docs/parameters.md", "prediction parameters", PredictionConfig),
        ("docs/parameters.md", "maintenance parameters", CleanUpConfig),
        ("docs/parameters.md", "download parameters", DownloadConfig),
        ("docs/promotion.md", "promotion parameters", PromotionConfig),
        ("docs/evaluation.md", "comparison parameters", ModelsConfig),
    ],
)
def test_the_parameters_tables_are_the_configurations(page, name, config):
    text = (ROOT / page).read_text()
    between = text.split(f"<!-- {name}: ")[1].split("-->", 1)[1].split(f"<!-- end of {name} -->")[0]
    assert between.strip() == markdown_table(config()).strip()


def test_every_link_and_picture_of_the_documentation_exists():
    for page in PAGES:
        text = prose(page)
        targets = re.findall(r"\]\((?!https?://)([^)]*)\)", text) + re.findall(r'<img src="([^"]+)"', text)
        for target in targets:
            path, _, fragment = target.partition("#")
            found = page.parent / path if path else page
            assert found.exists(), f"{page.name}: {target}"
            assert not fragment or fragment in map(anchor, headings(found)), f"{page.name}: {target}"


def test_every_page_is_in_the_navigation_of_the_site():
    def pages(entry):
        if isinstance(entry, str):
            return [entry]
        parts = entry.values() if isinstance(entry, dict) else entry
        return [page for part in parts for page in pages(part)]

    site = yaml.load((ROOT / "mkdocs.yml").read_text(), SiteLoader)
    assert sorted(pages(site["nav"])) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
    assert site["strict"]


def test_the_readme_is_short_and_leads_to_every_page():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 170
    for page in {page.name for page in DOCS.glob("*.md")} - {"index.md"}:
        assert f"](docs/{page})" in text, page


def test_every_page_that_a_message_names_is_there():
    files = [
        file for floor in ("ml", "plugins", "dags", "scripts", "spark_jobs") for file in ROOT.glob(f"{floor}/**/*.py")
    ]
    named = {page for file in files for page in re.findall(r"\bdocs/[\w/.-]+\.md", file.read_text())}
    assert {"docs/your-own-release.md", "docs/deployment.md"} <= named
    for page in named:
        assert (ROOT / page).exists(), page


def test_every_target_that_the_documentation_names_is_in_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        # In code only: "make it" is no target.
        code = "\n".join(re.findall(r"^```.*?^```|`[^`\n]+`", page.read_text(), re.MULTILINE | re.DOTALL))
        assert set(re.findall(r"\bmake ([a-z]+(?:-[a-z]+)*)\b", code)) <= targets, page.name


def test_the_page_on_spark_has_the_packages_and_settings_of_a_store_that_a_task_adds():
    text = (DOCS / "deploy" / "spark-standalone.md").read_text()
    settings = spark_settings({"AWS_ENDPOINT_URL": "http://store:9000"})
    assert f"--packages {settings['spark.jars.packages']} " in text
    assert f"--exclude-packages {settings['spark.jars.excludes']} " in text
    for name in ("endpoint", "endpoint.region", "path.style.access"):
        assert f"spark.hadoop.fs.s3a.{name}=" in text
        assert f"spark.hadoop.fs.s3a.{name}" in settings


def test_the_architecture_page_has_every_package_of_ml():
    packages = {file.parent.name for file in (ROOT / "ml").glob("*/__init__.py")}
    picture, table = (DOCS / "architecture.md").read_text().split("## The packages of `ml`")[1].split("| package |")
    assert packages <= set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    assert packages <= set(re.findall(r"\w+", picture))


def test_the_architecture_page_lists_the_modules_of_each_package():
    table = (DOCS / "architecture.md").read_text().split("| package |")[1]
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", table, re.MULTILINE))
    for package, listed in rows.items():
        folder = ROOT / "ml" / package
        files = {file.relative_to(folder).with_suffix("") for file in folder.rglob("*.py") if file.stem != "__init__"}
        assert re.findall(r"`([\w/]+)`", listed) == sorted(map(str, files)), package


def test_the_architecture_page_has_every_stage_in_order():
    table = (DOCS / "architecture.md").read_text().split("| stage |")[1].split("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(ALL_STAGES)


def test_the_glossary_has_the_words_of_the_project_in_order():
    words = headings(DOCS / "glossary.md")[1:]
    assert words == sorted(words)
    assert set(GLOSSARY) <= set(words)


def test_the_changelog_and_the_licence_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert "[Unreleased]" in (ROOT / "CHANGELOG.md").read_text()
