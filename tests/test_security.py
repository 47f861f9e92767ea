"""SECURITY.md names tests that exist, and the documentation leads to it."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "SECURITY.md").read_text()


def names_of_tests(file):
    """Return the names of the tests of a module."""
    return {
        node.name
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_each_test_that_holds_a_promise_exists():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 20
    assert [(file, name) for file, name in named if name not in names_of_tests(ROOT / file)] == []


def test_each_promise_names_a_test():
    promises = PAGE.partition("## What is promised")[2].partition("\n## ")[0]
    rows = [line for line in promises.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 10
    assert [row for row in rows if "::test_" not in row] == []


def test_the_page_on_security_names_every_confined_parameter():
    from ml.config.download import DownloadConfig
    from ml.config.prediction import PredictionConfig
    from ml.config.promotion import PromotionConfig
    from ml.config.training import TrainingConfig

    page = (ROOT / "docs" / "security.md").read_text()
    for flow in (TrainingConfig, PredictionConfig, PromotionConfig, DownloadConfig):
        for name, field in flow.model_fields.items():
            if isinstance(field.json_schema_extra, dict) and "place" in field.json_schema_extra:
                assert f"`{name}`" in page, name
