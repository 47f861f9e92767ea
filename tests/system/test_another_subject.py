"""A run about other labels than the default ones speaks of those alone, in everything that it leaves behind."""

import json
import shutil
from pathlib import Path

import matplotlib.figure
import matplotlib.text
import pyarrow.parquet as pq
import pytest

from ml import storage
from ml.config.deployment import load_deployment
from ml.flow.table import STAGES
from ml.promotion.run import gate, open_promotion
from ml.workflow.folder import read_run_record
from ml.workflow.opening import open_run
from support.airflow_root import SMALL
from support.airflow_web import airflow_database
from support.spark_stages import do

pytestmark = pytest.mark.slow
WORD = "gender"
AGES = {"young": ["Boy", "Girl"], "grown": ["Man", "Woman"]}


def trained(spark, root, run_id, release, **values):
    """Do all stages of a run about ages; compare where it names a baseline."""
    run = open_run(root, run_id, {"release": str(release), "labels": AGES, **SMALL, **values})
    return do(spark, run, *(name for name in STAGES if name != "compare" or run.config.baseline))


def texts_of(path):
    """What a file says: its bytes, and of a Parquet file also its columns and values, which lie compressed."""
    yield path.read_bytes().decode(errors="replace")
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        yield " ".join(table.column_names)
        yield from (str(table[name].unique()) for name in table.column_names if name not in ("pixels", "jpeg"))


def pages(root, run):
    """What the web pages are given about a run and about the registered models."""
    # Late: they import Airflow, which looks for its database.
    from open_images.web.airflow_runs import AirflowRun
    from open_images.web.folders import RunFolder
    from open_images.web.models import registered_models
    from open_images.web.report import report

    record = read_run_record(run.uri)
    assert record
    folder = RunFolder(root, run.slug, record)
    return {
        "run": report(AirflowRun(run.run_id, "success", "manual", ""), folder),
        "models": registered_models(load_deployment(), lambda _: True),
    }


def test_a_run_about_ages_says_the_word_nowhere(spark, release_copy, tmp_path, monkeypatch):
    shutil.rmtree(release_copy / "open_images_extended_miap")  # its own tables have the word
    root = storage.normalize(str(tmp_path / "storage"))
    deployment = {"storage": root, "labels": AGES}
    (tmp_path / "deployment.yaml").write_text(json.dumps(deployment))
    monkeypatch.setenv("OPEN_IMAGES_CONFIG", str(tmp_path / "deployment.yaml"))
    drawn, save = [], matplotlib.figure.Figure.savefig

    def savefig(figure, *arguments, **options):
        drawn.extend(text.get_text() for text in figure.findobj(matplotlib.text.Text))
        return save(figure, *arguments, **options)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", savefig)
    first = trained(spark, root, "first", release_copy)
    promotion = open_promotion(root, "promotion", {}, load_deployment())
    verdict = gate(promotion.run)
    trained(spark, root, "second", release_copy, seed=2, baseline=first.pinned("train").uri)

    assert any("grown or young" in text for text in drawn)
    assert WORD not in " ".join(drawn).lower()
    assert "young for the classes Boy, Girl" in verdict.markdown()
    assert WORD not in verdict.markdown().lower()
    with airflow_database(tmp_path):
        shown = pages(root, first)
    assert shown["run"]["about"]["title"] == shown["models"]["about"]["title"] == "grown or young"
    assert WORD not in json.dumps(shown).lower()
    page = storage.read_bytes(first.pinned("evaluate").file("report.html")).decode()
    for words in (
        "Labeled boxes by outcome of chipping",
        "Nothing here is a photograph",
        "<td>join_labels",
    ):
        assert words in page, "what stages further up left is handed to the report"
    local = Path(storage.local_path(root))
    files = [path for path in local.rglob("*") if path.is_file()]
    assert {
        "explore.html",
        "report.html",
        "model_card.md",
        "model.json",
        "compare.html",
        "verdict.json",
        "mlflow.db",
    } <= {path.name for path in files}
    guilty = [str(path.relative_to(local)) for path in files for text in texts_of(path) if WORD in text.lower()]
    assert not guilty
