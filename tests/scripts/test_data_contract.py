"""The page of the data contract says what the table in code says."""

from pathlib import Path

import data_contract
from ml.release.contract import Rule

PAGE = Path(__file__).parents[2] / "docs" / "data-contract.md"


def test_the_page_is_the_contract():
    assert PAGE.read_text() == data_contract.page(), (
        "PYTHONPATH=. python scripts/data_contract.py > docs/data-contract.md"
    )


def test_every_rule_is_explained():
    assert set(data_contract.MEANINGS) == set(Rule)
