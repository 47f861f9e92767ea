"""The runs of a sweep: one data set, a run for each training, and all of it checked before anything starts."""

import pytest

from ml import storage
from ml.config.sweep import SweepConfig
from ml.errors import ConfigurationError, DataError
from ml.flow.table import STAGES, SWEEP
from ml.stages.sweep import sweep as compare
from ml.workflow.execution import Result, run_stage
from ml.workflow.run import load_run
from ml.workflow.sweep import DATA, member_uri, open_members, open_sweep
from support.records import Stated
from support.training import make_record

GRID = {"learning_rate": [0.003, 0.01]}


@pytest.fixture
def opened_sweep(sample_release, tmp_path):
    """Open a sweep on the drawn release, below the test's own storage root."""

    def open_(run_id="sweep", **values):
        values = {"release": str(sample_release), "grid": GRID, "seeds": 2, **values}
        return open_sweep(str(tmp_path / "storage"), run_id, values)

    return open_


def prepare(sweep):
    """Do the data stages of a sweep, without any data."""
    record = Stated(
        faces=0,
        labelled={},
        asked={delivery.name: {"digest": "of the faces", "faces": 0} for delivery in sweep.deliveries},
        miap=None,
        **{"flags unknown": {}, "verified pairs": {"repeated": 0, "contradicted": 0}},
    )
    for stage in DATA:
        run_stage(sweep, stage, lambda context: Result(record))
    return sweep


def train(uris, losses):
    """Do the trainings of runs, each with its loss."""
    for uri, loss in zip(uris, losses, strict=True):
        record = make_record(uri)
        scored = record.model_copy(update={"validation": record.validation.model_copy(update={"loss": loss})})
        run_stage(load_run(uri), STAGES["train"], lambda context, scored=scored: Result(scored))


def test_the_trainings_share_the_data_and_differ_in_what_the_sweep_varies(opened_sweep):
    sweep = prepare(opened_sweep())
    members = [load_run(uri) for uri in open_members(sweep.uri)]
    assert [(run.config.learning_rate, run.config.seed) for run in members] == [
        (0.003, 42),
        (0.003, 43),
        (0.01, 42),
        (0.01, 43),
    ]
    for run in members:
        assert {stage.name: run.pinned(stage.name).uri for stage in DATA} == {
            stage.name: sweep.pinned(stage.name).uri for stage in DATA
        }
    assert len({run.key(STAGES["train"]) for run in members}) == 4
    assert (members[0].deliveries, members[0].as_of) == (sweep.deliveries, sweep.as_of)


def test_a_training_of_a_sweep_is_that_of_a_run_with_its_parameters(opened_sweep, opened, tmp_path):
    (member,) = map(load_run, open_members(prepare(opened_sweep(grid={}, seeds=1, seed=7)).uri))
    run = opened(seed=7)
    for stage in DATA:
        assert run.find_or_adopt(stage)
    assert run.key(STAGES["train"]) == member.key(STAGES["train"])


def test_a_sweep_is_another_run_than_a_training_of_the_same_id(opened_sweep, opened):
    sweep, run = opened_sweep("one"), opened("one")
    assert sweep.uri != run.uri
    assert type(load_run(sweep.uri).config) is SweepConfig


@pytest.mark.parametrize(
    ("grid", "message"),
    [({"epochs": [3, "many"]}, "epochs"), ({"learning_rate": [0.1, 2.0]}, "learning_rate"), ({"seed": [1]}, "seed")],
)
def test_a_wrong_value_anywhere_in_the_grid_is_refused_before_anything_is_written(
    opened_sweep, tmp_path, grid, message
):
    with pytest.raises(ConfigurationError, match=message):
        opened_sweep(grid=grid)
    assert not (tmp_path / "storage" / "runs").exists()


def test_trainings_wait_for_the_data(opened_sweep):
    sweep = opened_sweep()
    with pytest.raises(DataError, match=r"Stage extract of run sweep\.0 is not done"):
        open_members(sweep.uri)


def test_the_best_is_chosen_by_validation_over_the_seeds(opened_sweep, tmp_path):
    sweep = prepare(opened_sweep())
    members = open_members(sweep.uri)
    with pytest.raises(DataError, match=r"train has not been done in run sweep\.0"):
        run_stage(sweep, SWEEP, compare)
    train(members, [0.30, 0.70, 0.45, 0.40])
    done = run_stage(sweep, SWEEP, compare)
    assert (done.metrics["best"]["number"], done.metrics["best"]["run"]) == (3, members[3])
    assert [c["values"] for c in done.metrics["combinations"]] == [{"learning_rate": 0.01}, {"learning_rate": 0.003}]
    assert member_uri(sweep.root, "sweep", 3) == members[3]
    page = storage.read_bytes(done.metrics["report"]).decode()
    assert "0.4250 ± 0.0354" in page
    assert "within the spread of the seeds" in page
    table = storage.read_bytes(done.metrics["table"]).decode().splitlines()
    assert table[0] == "number,learning_rate,seed,loss,accuracy,best_epoch,seconds,run"
    assert [line.partition(",")[0] for line in table[1:]] == ["2", "3", "0", "1"]


def test_the_same_sweep_is_found_done_and_another_grid_is_not(opened_sweep):
    sweep = prepare(opened_sweep("one"))
    train(open_members(sweep.uri), [0.1, 0.2, 0.3, 0.4])
    done = run_stage(sweep, SWEEP, compare)
    again = prepare(opened_sweep("two"))
    trained = [load_run(uri).find_or_adopt(STAGES["train"]) for uri in open_members(again.uri)]
    assert all(trained), "the trainings are found by their keys"
    assert again.find_or_adopt(SWEEP).uri == done.uri
    other = prepare(opened_sweep("three", seeds=3))
    assert other.find_or_adopt(SWEEP) is None
