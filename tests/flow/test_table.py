"""The table of stages rejects wrong rows, and everything derived from it agrees with it."""

import dataclasses
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from ml.config.parameter import check_fields
from ml.config.training import TrainingConfig
from ml.flow.table import ALL_STAGES, STAGES, arrows, check_rows, downstream_of, find_page

ROOT = Path(__file__).parents[2]


def with_(**changes):
    return dataclasses.replace(STAGES["train"], **changes)


@pytest.mark.parametrize("where", ["fields", "unkeyed", "files", "only_with"])
def test_a_row_with_a_field_that_the_configuration_lacks_is_refused(where):
    wrong = with_(**{where: "epoch" if where == "only_with" else ("epoch",)})
    with pytest.raises(ValueError, match="Stage train names epoch, which TrainingConfig lacks"):
        check_fields(TrainingConfig, [wrong])


def test_a_misspelled_field_is_refused_when_the_configuration_is_imported():
    code = """
import dataclasses
from ml.flow.table import STAGES
STAGES["train"] = dataclasses.replace(STAGES["train"], fields=("epoch",))
import ml.config.training
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "ValueError: Stage train names epoch, which TrainingConfig lacks." in done.stderr


@pytest.mark.parametrize("where", ["inputs", "reads"])
def test_a_row_that_names_a_stage_which_does_not_come_before_it_is_refused(where):
    with pytest.raises(ValueError, match="Stage train reads featurise"):
        check_rows(with_(**{"inputs": (), where: ("featurise",)}))


def test_a_process_stage_needs_a_body():
    with pytest.raises(ValueError, match="must have a body"):
        check_rows(with_(inputs=(), body=""))


def test_every_stage_has_the_file_that_does_its_work():
    for stage in ALL_STAGES.values():
        if stage.engine == "spark":
            assert (ROOT / "spark_jobs" / f"{stage.name}.py").is_file()
        else:
            module, _, name = stage.body.partition(":")
            assert callable(getattr(importlib.import_module(module), name))


def test_the_arrows_lead_where_the_inputs_do():
    found = list(arrows())
    for stage in STAGES.values():
        above, waiting = set(), [stage.name]
        while waiting:
            name = waiting.pop()
            waiting += [before for before, after in found if after == name]
            above.add(name)
        assert set(stage.inputs) <= above
        assert set(stage.reads) <= above, "what a stage reads was done before"
    assert ("featurize", "evaluate") not in found, "stage train stands between them"


def test_what_is_downstream_of_a_stage():
    assert downstream_of("chip") == {"chip", "featurize", "explore", "train", "evaluate", "suspects", "compare"}
    assert downstream_of("compare") == {"compare"}


def test_another_seed_only_trains_again():
    one, other = (
        {
            name: STAGES[name].key(TrainingConfig(seed=seed), dict.fromkeys(STAGES, "input"), {})
            for name in ("featurize", "train")
        }
        for seed in (1, 2)
    )
    assert one["featurize"] == other["featurize"]
    assert one["train"] != other["train"]


def test_a_page_is_found_by_its_name():
    stage, page = find_page("comparison")
    assert (stage.name, page.file) == ("compare", "compare.html")
