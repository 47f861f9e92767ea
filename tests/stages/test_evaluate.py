"""Stage evaluate on small features and a network whose answers are known."""

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ml import storage
from ml.errors import DataError, LabelOrderError, PreprocessingError
from ml.features.output_checks import check_table
from ml.features.outputs import OUTPUTS
from ml.features.reader import split_table
from ml.stages.evaluate import evaluate
from ml.stages.examples import EXAMPLES
from support.answers import assert_only_test_faces
from support.features import make_context, make_features, make_run
from support.models import make_model

FACES = {"train": (4, 4), "validation": (3, 3), "test": (30, 50)}


@pytest.fixture
def evaluated(tmp_path, monkeypatch):
    """Evaluate a model with the given faults on features of which only the test split can be read."""

    def run(faces=FACES, change=None, values=None, miap=False, plots=False, **model):
        if not plots:  # they take a second
            monkeypatch.setattr("ml.stages.evaluate.draw_plots", lambda *_: {})
        features = make_features(tmp_path, faces, miap=miap)
        for split in ("train", "validation"):
            for uri in features.table(split_table(split)):
                storage.remove(uri)
        if change:
            features = features.model_copy(update={"metrics": {**features.metrics, **change(features.metrics)}})
        run = make_run(tmp_path, features, **(values or {}))
        context = make_context(run, stage="evaluate")
        trained = make_model(tmp_path, **model)
        run.pin(trained)
        inputs = {"featurize": features, "train": trained}
        context = dataclasses.replace(context, inputs=inputs, uri=storage.join(storage.normalize(tmp_path), "out"))
        return evaluate(context), context

    return run


GOLDEN = json.loads((Path(__file__).parents[1] / "metrics/golden/manifest_keys.json").read_text())


def keys_of(values):
    """Return the keys of JSON values in their order, at all depths."""
    if isinstance(values, dict):
        return {name: keys_of(value) for name, value in values.items()}
    return [keys_of(value) for value in values[:1]] if isinstance(values, list) else None


def read(context, name):
    return storage.read_bytes(context.path(name))


def test_a_model_that_is_right_is_measured_as_right(evaluated):
    result, context = evaluated(plots=True)
    metrics = json.loads(read(context, "metrics.json"))
    assert metrics["confusion"]["counts"] == [[30, 0], [0, 50]]
    assert result.metrics["faces"] == 80
    assert result.metrics["accuracy"]["value"] == 1
    majority = result.metrics["majority"]
    assert (majority["label"], majority["value"], majority["count"]) == ("male", 0.625, 80)
    assert result.metrics["beats_majority"] is True
    assert set(result.metrics["plots"]) == {
        *("confusion_matrix", "roc", "precision_recall", "reliability", "risk_coverage", "slices", "curves"),
        *("correct", "grad_cam_correct"),
    }
    for uri in (
        *result.metrics["plots"].values(),
        result.metrics["report"],
        result.metrics["metrics"],
        result.metrics["card"],
    ):
        assert storage.exists(uri)
    assert not storage.exists(context.path("wrong.png"))
    assert result.metrics["model"] == context.inputs["train"].uri
    assert read(context, "curves.svg") == storage.read_bytes(context.inputs["train"].file("curves.svg"))
    assert "All test faces are predicted correctly" in read(context, "report.html").decode()


def test_the_manifest_has_the_keys_and_order_that_it_had(evaluated):
    result, _ = evaluated({**FACES, "test": (90, 90)}, sharpness=4.0, bias=0.3, miap=True, plots=True)
    # As text, since dictionaries of another order are equal.
    assert json.dumps(keys_of(result.metrics)) == json.dumps(GOLDEN["evaluate"])


def test_predictions_name_every_test_face_once_with_its_labels(evaluated):
    _, context = evaluated()
    rows = pq.read_table(io.BytesIO(read(context, "predictions.parquet")))
    faults = check_table(rows, OUTPUTS["evaluate", "predictions"])
    assert {fault.split(":")[0] for fault in faults} == {"predictions.face_id", "predictions.image_id"}, "made-up ids"
    table = rows.to_pydict()
    assert_only_test_faces(context)
    assert [i.replace("-image-", "-") for i in table["image_id"]] == table["face_id"]
    assert table["label"] == table["predicted"]
    assert table["label"].count("female") == 30
    assert [p >= 0.5 for p in table["probability"]] == [label == "male" for label in table["predicted"]]


def test_a_model_that_is_always_wrong_shows_its_surest_mistakes(evaluated):
    result, context = evaluated(sharpness=-40.0)
    assert result.metrics["accuracy"]["value"] == 0
    assert result.metrics["auc"]["value"] == 0
    assert "correct" not in result.metrics["plots"]
    report = read(context, "report.html").decode()
    assert "not distinguishable from guessing" in report
    assert "All test faces are predicted wrongly" in report
    width, height = Image.open(io.BytesIO(read(context, "wrong.png"))).size
    assert width == 10 + 6 * 190
    assert EXAMPLES == 24
    assert height > 4 * 190, "24 of the 80 mistakes, in rows of six"


def test_rows_are_annotated_and_columns_predicted(evaluated):
    # A model that leans to male calls females male, and nobody else anything wrong.
    _, context = evaluated(sharpness=1.0, bias=5.0)
    metrics = json.loads(read(context, "metrics.json"))
    assert metrics["confusion"]["counts"] == [[0, 30], [0, 50]]
    assert metrics["by_label"]["male"]["recall"]["value"] == 1
    assert metrics["by_label"]["male"]["precision"]["value"] == pytest.approx(50 / 80)


def test_the_models_own_threshold_decides_unless_the_run_sets_one(evaluated):
    result, context = evaluated(threshold=0.05, sharpness=1.0)
    assert json.loads(read(context, "metrics.json"))["threshold"] == 0.05
    assert result.metrics["by_label"]["male"]["recall"]["value"] == 1
    assert "chosen on the validation split" in read(context, "report.html").decode()
    _, context = evaluated(threshold=0.05, sharpness=1.0, values={"threshold": 0.5})
    assert json.loads(read(context, "metrics.json"))["threshold"] == 0.5


def test_calibration_is_told_before_and_after_the_models_temperature(evaluated):
    _, context = evaluated(temperature=2.0, sharpness=4.0)
    calibration = json.loads(read(context, "metrics.json"))["calibration"]
    assert calibration["temperature"] == 2.0
    # All faces are answered rightly: dividing the logits by 2 has made the probabilities smaller.
    assert calibration["before"]["brier"]["value"] < calibration["after"]["brier"]["value"]


def test_below_the_least_confidence_a_face_is_unknown(evaluated):
    result, context = evaluated(sharpness=4.0, bias=0.3, values={"min_confidence": 0.65})
    table = pq.read_table(io.BytesIO(read(context, "predictions.parquet"))).to_pydict()
    unknown = sum(max(p, 1 - p) < 0.65 for p in table["probability"])
    assert 0 < unknown < 80
    assert result.metrics["abstention"]["unknown"] == unknown
    assert result.metrics["abstention"]["coverage"]["value"] == pytest.approx(1 - unknown / 80)
    assert f"{unknown} of the 80 test faces" in read(context, "report.html").decode()


def test_the_runs_own_error_rate_decides_and_is_checked(evaluated):
    model = {"sharpness": 4.0, "bias": 0.3, "risk": (0.65, 1000, 20)}
    result, context = evaluated(values={"max_risk": 0.05, "min_confidence": 0.99}, **model)
    assert result.metrics["abstention"]["min_confidence"] == 0.65
    own = result.metrics["promise"]
    assert own["promise"]["max_risk"] == 0.05
    assert own["coverage"]["value"] == result.metrics["abstention"]["coverage"]["value"]
    assert own["risk"]["value"] == pytest.approx(1 - result.metrics["abstention"]["accuracy"]["value"])
    report, card = read(context, "report.html").decode(), read(context, "model_card.md").decode()
    assert "at most 5% of the labels are wrong" in report
    assert "the promise is <strong>held</strong>" in report
    assert "The smallest error rate that this model can promise is 3." in report
    assert "**Promised error rate.**" in card


def test_an_error_rate_that_no_threshold_holds_is_said_in_report_and_card(evaluated):
    result, context = evaluated(values={"max_risk": 0.01}, risk=(0.65, 1000, 20))
    assert result.metrics["promise"]["promise"] is None
    assert result.metrics["abstention"]["min_confidence"] == 0.75
    assert "No threshold holds the stated error rate of 1.0%" in read(context, "report.html").decode()
    assert "No threshold holds the stated error rate of 1.0%" in read(context, "model_card.md").decode()


def test_a_release_with_miap_is_sliced_by_age_and_measured_against_it(evaluated):
    _, context = evaluated(miap=True)
    metrics = json.loads(read(context, "metrics.json"))
    assert metrics["slices"]["by"][0]["column"] == "age_presentation"
    assert metrics["miap"]["model"]["value"] == 1
    assert metrics["miap"]["model"]["count"] == 80
    report, card = read(context, "report.html").decode(), read(context, "model_card.md").decode()
    assert "Agreement with MIAP" in report
    first = metrics["slices"]["by"][0]["slices"][0]
    assert "By age: " in report.partition('<nav class="contents"')[0], "on the first screen"
    limits = card.partition("## Limits")[2].strip().splitlines()
    assert limits[0].startswith(f"- **Age presentation (MIAP): {first['name']}**: accuracy 100.0% (")
    assert f"on {first['faces']} faces" in limits[0]


def test_a_release_without_miap_says_what_is_left_out(evaluated):
    _, context = evaluated()
    metrics = json.loads(read(context, "metrics.json"))
    assert metrics["miap"] is None
    assert metrics["slices"]["left_out"] == ["Age presentation (MIAP)"]
    report = read(context, "report.html").decode()
    assert "Left out" in report
    assert "<strong>not measured</strong>" in report.partition('<nav class="contents"')[0]
    assert "Accuracy by age is not measured" in read(context, "model_card.md").decode()
    assert "Agreement with MIAP" not in report


def test_the_threshold_of_the_run_decides(evaluated):
    _, context = evaluated(sharpness=4.0, values={"threshold": 0.99})
    metrics = json.loads(read(context, "metrics.json"))
    assert metrics["threshold"] == 0.99
    assert metrics["auc"]["value"] == 1
    assert metrics["confusion"]["counts"][1][0] > 0


def test_features_that_number_the_labels_otherwise_are_refused(evaluated):
    with pytest.raises(LabelOrderError, match="features"):
        evaluated(change=lambda metrics: {"labels": ["male", "female"]})


def test_a_model_of_other_labels_is_refused(evaluated):
    labels = {"cat": ["Cat"], "dog": ["Dog"]}
    with pytest.raises(LabelOrderError, match="model"):
        evaluated(change=lambda metrics: {"labels": ["cat", "dog"]}, values={"labels": labels})


def test_a_model_of_another_chip_size_is_refused(evaluated):
    with pytest.raises(PreprocessingError, match="64"):
        evaluated(size=64)


def test_pixels_that_are_not_those_that_were_written_are_refused(evaluated):
    with pytest.raises(PreprocessingError, match="red and blue are swapped"):
        evaluated(change=lambda m: {"channel_sums": {"test": m["channel_sums"]["test"][::-1]}})


def test_a_test_split_of_one_label_has_no_auc_and_says_so(evaluated):
    result, context = evaluated({**FACES, "test": (0, 9)})
    assert result.metrics["auc"]["value"] is None
    assert "All test faces have one label" in read(context, "report.html").decode()


def test_a_test_split_without_faces_is_a_data_error(evaluated):
    with pytest.raises(DataError, match="no faces"):
        evaluated({**FACES, "test": (0, 0)})


def test_the_examples_show_the_chips_in_their_colours(evaluated):
    _, context = evaluated({**FACES, "test": (1, 0)})
    sheet = np.asarray(Image.open(io.BytesIO(read(context, "correct.png"))).convert("RGB")).astype(int)
    chip = sheet[10:190, 10:190].mean(axis=(0, 1))
    assert chip[0] > chip[2] + 10, "a female chip of these features is reddish"
