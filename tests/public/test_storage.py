"""The interface for notebooks: a storage root, its runs, tables, metrics and models."""

from __future__ import annotations

import datetime
import subprocess
import sys
from pathlib import Path

import matplotlib.cbook
import numpy as np
import pytest

import ml
from ml import open_storage
from ml.errors import ConfigurationError, DataError
from ml.public.model import Model
from ml.public.table import Table
from ml.vision.images import decode, encode_jpeg, encode_png
from support.models import dull_reds, make_model


def test_importing_ml_imports_nothing_and_offers_what_is_public():
    code = "import sys; before = set(sys.modules); import ml; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {name for name in loaded if name.partition(".")[0] == "ml"} == {"ml", "ml.quiet"}
    assert {name.partition(".")[0] for name in loaded} - {"ml"} <= sys.stdlib_module_names, "nothing installed"
    assert ml.__all__ == ["open_storage"]
    with pytest.raises(AttributeError, match="no attribute 'open_store'"):
        ml.open_store  # noqa: B018


def test_runs_are_listed_and_found_by_any_name(opened):
    assert {run.id for run in opened.runs()} == {"first", "second"}
    assert opened.runs("prediction") == []
    assert [run.id for run in opened.runs(done="explore")] == []
    run = opened.run("first")
    assert opened.run(run.uri).id == "first"
    assert list(run.stages) == ["featurize", "train", "evaluate"]
    assert run.parameters["chip_class"] == "Human face"
    assert datetime.datetime.fromisoformat(run.as_of).year == 2020
    assert set(run.changed_parameters) < set(run.parameters)
    with pytest.raises(ConfigurationError, match="no run 'third'"):
        opened.run("third")
    with pytest.raises(DataError, match="has not done stage chip"):
        run.ledger("chip")


def test_tables_are_read_with_arrow_and_pandas(opened):
    run = opened.run("first")
    table = run.table("features")
    assert table == run.table("featurize/features")
    assert (table.stage, table.rows) == ("featurize", 134)
    arrow = table.arrow(["face_id", "label"])
    assert (arrow.num_rows, arrow.column_names) == (134, ["face_id", "label"])
    assert table.arrow().num_rows == 134
    frame = table.pandas(["label"])
    assert frame["label"].value_counts().to_dict() == {0: 67, 1: 67}
    with pytest.raises(DataError, match=r"no table faces.*featurize/features"):
        run.table("faces")


def test_a_table_is_read_with_spark(opened, spark):
    assert opened.run("first").table("features").spark(spark).count() == 134


def test_a_table_without_files_is_empty():
    assert Table("extract", "miap", (), 0).arrow().num_rows == 0


def test_metrics_are_typed_and_pages_have_places(opened, tmp_path):
    run = opened.run("first")
    assert run.summary.accuracy.value == 0.9
    assert run.metrics.accuracy.value == 0.75
    assert run.metrics.slices.by
    assert run.pages["Full report"] == f"{tmp_path}/stages/evaluate/0e/attempts/first/report.html"


def test_the_champion_predicts_chips_and_photographs(opened, tmp_path):
    champion = opened.champion
    assert champion.version.number == 1
    assert champion.uri == opened.model("champion").uri == opened.model("first").uri == opened.run("first").model.uri
    assert opened.model("first").version == champion.version
    assert opened.model("second").version is None
    assert [version.number for version in opened.versions()] == [1]
    assert champion.description.labels == ["female", "male"]
    assert champion.training.best_epoch == 2
    assert [row.epoch for row in champion.history] == [1, 2, 3]
    chips = np.zeros((2, 32, 32, 3), np.uint8)
    chips[0, ..., 0] = chips[1, ..., 2] = 255  # red is the first label, blue the second
    probabilities = champion.predict(chips)
    assert probabilities[0, 0] > 0.9
    assert probabilities[1, 1] > 0.9
    np.testing.assert_allclose(probabilities, champion.keras()(chips).numpy(), atol=1e-4)
    (tmp_path / "plain.jpg").write_bytes(encode_jpeg(np.full((90, 90, 3), 120, np.uint8)))
    assert champion.predict_photograph(tmp_path / "plain.jpg") == []


def test_a_face_on_a_photograph_says_in_what_it_is_unlike_the_training_faces(tmp_path):
    photo = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    (tmp_path / "dark.png").write_bytes(encode_png(decode(Path(photo).read_bytes()) // 8 + 8))
    models = (
        Model(make_model(tmp_path, novelty=novelty, name=name)) for name, novelty in (("a", dull_reds()), ("b", None))
    )
    (telling,), (older,) = (model.predict_photograph(tmp_path / "dark.png") for model in models)
    assert "brightness" in telling.unusual
    assert older.unusual is None


def test_models_are_listed_newest_first(opened, tmp_path):
    newest, oldest = opened.models()
    assert (newest.runs, newest.accuracy, newest.aliases) == (("second",), 0.5, ())
    assert (oldest.runs, oldest.aliases, oldest.model.version.number) == (("first",), ("champion",), 1)
    assert oldest.parameters["seed"] == 42
    assert oldest.parameters["release"] == opened.run("first").parameters["release"]
    assert "threshold" not in oldest.parameters, "which the model does not depend on"
    make_model(tmp_path, name="of no run")
    assert len(opened.models()) == 2


def test_another_class_has_its_own_champion(opened):
    assert open_storage(opened.root, chip_class="Cat").champion is None


def test_a_root_that_is_not_there_is_named():
    with pytest.raises(ConfigurationError, match=r"no storage root at file:///nowhere"):
        open_storage("/nowhere")
