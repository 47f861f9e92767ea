"""A stage's body reads what its row declares, and nothing else."""

import json
from dataclasses import replace

import pytest

from ml import storage
from ml.config.training import TrainingConfig
from ml.errors import UndeclaredReadError
from ml.flow.table import ALL_STAGES, STAGES
from ml.photographs.pack import pack
from ml.photographs.source import NOTEBOOK, Key
from ml.release.delivery import Delivery
from ml.workflow.execution import Result, make_context, run_stage
from ml.workflow.views import ConfigView, RunView
from support.records import Stated

EXTRACT, EXPLORE = STAGES["extract"], replace(STAGES["explore"], inputs=("extract",))


def test_a_body_that_reads_an_undeclared_parameter_fails_and_says_which(opened):
    run = opened()

    def work(context):
        return Result(Stated(size=context.config.chip_size))

    with pytest.raises(UndeclaredReadError, match=r"Stage extract reads the parameter chip_size.*fields.*unkeyed"):
        run_stage(run, EXTRACT, work, "one")
    error = storage.read_json(storage.join(run.key_uri(EXTRACT), "attempts", "one", "error.json"))
    assert error["kind"] == "configuration", "a retry cannot help"


def test_a_body_that_reads_an_undeclared_stage_fails_and_says_which(opened):
    run = opened()
    run_stage(run, EXTRACT, lambda context: Result())

    def work(context):
        assert context.inputs["extract"].stage == "extract"
        return Result(Stated(faces=context.inputs["join_labels"].metrics))

    with pytest.raises(UndeclaredReadError, match=r"Stage explore reads stage join_labels.*inputs.*reads"):
        run_stage(run, EXPLORE, work)


@pytest.mark.parametrize("ask", [lambda i: i["chip"], lambda i: i.get("chip"), lambda i: "chip" in i])
def test_an_undeclared_stage_is_refused_however_it_is_asked_for(opened, ask):
    run = opened()
    run_stage(run, EXTRACT, lambda context: Result())
    with pytest.raises(UndeclaredReadError):
        ask(make_context(run, EXPLORE, "one").inputs)


def test_a_stage_that_is_only_read_may_be_absent_and_an_input_may_not(opened):
    from ml.errors import DataError

    run = opened()
    with pytest.raises(DataError, match="Stage extract has not been done"):
        make_context(run, EXPLORE, "one")
    run_stage(run, EXTRACT, lambda context: Result())
    assert list(make_context(run, EXPLORE, "one").inputs) == ["extract"]


def test_properties_work_where_the_fields_that_they_read_are_declared():
    config = TrainingConfig()
    view = ConfigView(config, EXTRACT)
    assert view.label_order == config.label_order
    assert view.label_classes == config.label_classes
    with pytest.raises(UndeclaredReadError, match="labels"):
        _ = ConfigView(config, STAGES["chip"]).label_order


@pytest.mark.parametrize("name", ["model_dump", "model_copy", "part", "model_dump_json"])
def test_the_configuration_as_a_whole_is_not_handed_out(name):
    with pytest.raises(UndeclaredReadError, match=r"context\.run\.parameters"):
        getattr(ConfigView(TrainingConfig(), EXTRACT), name)


@pytest.mark.parametrize("stage", ALL_STAGES)
def test_every_declared_parameter_can_be_read(stage):
    from ml.config.prediction import PredictionConfig
    from ml.config.sweep import SweepConfig

    config = {"predict": PredictionConfig, "sweep": SweepConfig}.get(stage, TrainingConfig)()
    view = ConfigView(config, ALL_STAGES[stage])
    for name in ALL_STAGES[stage].declared_fields:
        assert getattr(view, name) == getattr(config, name)


def test_a_body_may_show_all_parameters_of_its_run(opened):
    run = opened(epochs=4)
    parameters = make_context(run, EXTRACT, "one", run.deliveries[0]).run.parameters
    assert parameters == json.loads(run.config.model_dump_json())


@pytest.mark.parametrize("form", ["jpg", "tar", "parquet"])
def test_photographs_are_read_from_the_newest_delivery_that_holds_them(tmp_path, form):
    """Three deliveries, of which the second one is packed."""
    held = {
        "2020-01-01": {"a": b"old", "b": b"old"},
        "2020-02-01": {"b": b"newer", "c": b"newer"},
        "2020-03-01": {"c": b"newest"},
    }
    for name, photographs in held.items():
        for image_id, content in photographs.items():
            storage.write_bytes(f"{tmp_path}/files/{name}/train/{image_id}.jpg", content)
    if form != "jpg":
        pack(f"{tmp_path}/files/2020-02-01", f"{tmp_path}/packed/2020-02-01", form)
    deliveries = tuple(
        Delivery(
            name=name,
            uri=f"{tmp_path}/{'packed' if name == '2020-02-01' and form != 'jpg' else 'files'}/{name}",
            tables="",
            photographs="",
        )
        for name in held
    )
    view = RunView("", "run", "run", {}, deliveries, None, ",".join(NOTEBOOK), "", {})
    wanted = [Key("train", image_id) for image_id in "abcd"]
    found = dict(view.read_photographs(wanted))
    assert {key.image_id: found[key]() for key in wanted[:3]} == {"a": b"old", "b": b"newer", "c": b"newest"}
    assert {key.image_id: view.read_photograph(*key) for key in wanted[:3]} == {
        "a": b"old",
        "b": b"newer",
        "c": b"newest",
    }
    with pytest.raises(FileNotFoundError, match=r"train/d\.jpg is in no delivery of run run"):
        found[wanted[3]]()
