"""The parameters of a sweep: which combinations and seeds are trained, and which grids are refused."""

import pytest

from ml.config.parameter import validate
from ml.config.sweep import VARIED, SweepConfig, cells
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError
from ml.flow.table import STAGES


def test_every_combination_is_trained_with_every_seed():
    found = cells({"learning_rate": [0.003, 0.01], "epochs": [5, 9]}, seeds=2, seed=7)
    assert [cell.number for cell in found] == list(range(8))
    assert [(cell.values["learning_rate"], cell.values["epochs"], cell.seed) for cell in found[:3]] == [
        (0.003, 5, 7),
        (0.003, 5, 8),
        (0.003, 9, 7),
    ]
    assert found[-1].parameters == {"learning_rate": 0.01, "epochs": 9, "seed": 8}


def test_without_a_grid_only_the_seeds_differ():
    assert [cell.parameters for cell in cells({}, seeds=3, seed=42)] == [{"seed": 42}, {"seed": 43}, {"seed": 44}]


def test_what_may_vary_changes_the_key_of_the_training_and_no_stage_before_it():
    other = {"network": "notebook", "optimizer": "adamw", "schedule": "constant", "augment": False, "balance": False}
    plain, sources = (
        TrainingConfig(),
        dict.fromkeys(("delivery", "tables", "photographs", "listings", "faces", "reference"), ""),
    )
    for name in VARIED:
        value = getattr(plain, name)
        changed = plain.model_copy(update={name: other[name] if name in other else (value or 0) / 2 + 1})
        for stage in STAGES.values():
            keys = {stage.key(config, dict.fromkeys(stage.inputs, ""), sources) for config in (plain, changed)}
            if stage.engine == "spark" or stage.name == "train":
                assert len(keys) == (2 if stage.name == "train" else 1), (stage.name, name)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"grid": {"chip_size": [64, 96]}}, "chip_size cannot be varied; a sweep prepares the data once"),
        ({"grid": {"seed": [1, 2]}}, "seed cannot be varied"),
        ({"grid": {"backbone_weights": ["none"]}}, "backbone_weights cannot be varied"),
        ({"grid": {"epochs": []}}, "epochs must have one or more values"),
        ({"grid": {"epochs": [3, 3]}}, "none of them twice"),
        ({"grid": "epochs=3"}, "must be a JSON object like"),
        ({"grid": {"epochs": list(range(1, 101))}, "seeds": 3}, "make 300 trainings; 200 are the most"),
        ({"seeds": 0}, "seeds"),
        ({"force": "train"}, "no meaning in a sweep"),
    ],
)
def test_a_sweep_that_cannot_be_meant_is_refused(values, message):
    with pytest.raises(ConfigurationError, match=message):
        validate(values, SweepConfig())


def test_a_grid_may_be_given_as_text():
    assert validate({"grid": '{"epochs": [3, 5]}'}, SweepConfig()).grid == {"epochs": [3, 5]}


def test_a_huge_grid_is_refused_without_being_made():
    grid = {name: list(range(1, 90)) for name in ("epochs", "batch_size", "patience", "min_faces", "frozen_epochs")}
    with pytest.raises(ConfigurationError, match="are the most"):
        validate({"grid": grid}, SweepConfig())
