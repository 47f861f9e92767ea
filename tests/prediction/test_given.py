"""What the command `predict` is given, checked before anything heavy is imported, and folders that are watched."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import matplotlib.cbook
import numpy as np
import pytest

from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError, DataError
from ml.prediction import photos
from ml.prediction.given import arrivals, check_given, check_watched, find_photographs
from ml.vision.images import encode_png
from support.models import make_model

HOPPER = Path(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))


def test_what_is_missing_is_said_before_anything_is_read(tmp_path):
    (tmp_path / "there.jpg").touch()
    (tmp_path / "empty" / ".hidden").mkdir(parents=True)
    (tmp_path / "empty" / "notes.txt").touch()
    (tmp_path / "empty" / ".hidden" / "a.jpg").touch()
    given = [tmp_path / name for name in ("there.jpg", "missing.jpg", "empty")]
    with pytest.raises(DataError) as refused:
        check_given(given, tmp_path / "out")
    assert f"{given[1]}: there is no such file; {given[2]}: holds no JPEG or PNG file." in str(refused.value)
    check_given([given[0]], tmp_path / "out")
    with pytest.raises(DataError, match=r"cannot be read .*too long"):
        check_given([tmp_path / ("a" * 300 + ".jpg")], tmp_path / "out")
    with pytest.raises(DataError, match="there is no such file"):
        check_given([given[0] / "a.jpg"], tmp_path / "out")


def test_a_folder_that_cannot_be_read_is_told_with_the_photographs_that_cannot(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.jpg").touch()
    look = os.scandir

    def scandir(path):
        if str(path).endswith("closed"):  # the tests may run as root, whom nothing stops
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return look(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = [each.path.name for each in find_photographs([tmp_path], tmp_path / "out")]
    assert found == ["a.jpg", "closed"]
    with pytest.raises(DataError, match="closed: cannot be read"):
        photos.read_photo(tmp_path / "closed")


def test_only_existing_folders_are_watched_and_never_the_output(tmp_path):
    with pytest.raises(ConfigurationError, match="there is no such folder"):
        check_watched([tmp_path, tmp_path / "absent"], tmp_path / "out")
    with pytest.raises(ConfigurationError, match="could overwrite"):
        check_watched([tmp_path], tmp_path)
    check_watched([tmp_path], tmp_path / "out")


@pytest.fixture
def looks(tmp_path):
    """Look into a folder, after doing something there; return the names that are ready."""
    folder = tmp_path / "in"
    folder.mkdir()
    found = arrivals([folder], folder / "out", lambda: None)

    def look(*changes):
        for name, content in changes:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        return sorted(each.path.name for each in next(found))

    return look


def test_a_photograph_is_ready_when_it_no_longer_grows(looks):
    assert looks() == []
    assert looks(("a.jpg", b"half")) == []
    assert looks(("a.jpg", b"half, and more"), ("notes.txt", b"no photograph")) == []
    assert looks(("b.PNG", b"whole"), ("out/copy.jpg", b"a copy")) == ["a.jpg"]
    assert looks() == ["b.PNG"]
    assert looks() == []


def test_a_photograph_that_changes_is_ready_again(looks):
    looks(("a.jpg", b"one"))
    assert looks() == ["a.jpg"]
    assert looks(("a.jpg", b"another")) == []
    assert looks() == ["a.jpg"]


def test_a_watched_folders_answers_are_complete_after_each_look(tmp_path, monkeypatch, capsys):
    """Photographs arrive while the command waits, until it is interrupted."""
    model, folder, out = make_model(tmp_path).uri, tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    told = []

    def arrive(seconds):
        told.append(json.loads((out / "predictions.json").read_text()) if out.exists() else None)
        looks = len(told)
        if looks == 1:
            shutil.copy(HOPPER, folder / "hopper.jpg")
        elif looks == 3:
            (folder / "plain.png").write_bytes(encode_png(np.full((90, 90, 3), 120, np.uint8)))
            (folder / "damaged.jpg").write_text("no photograph")
        elif looks == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(photos, "sleep", arrive)  # that of the whole process serves other threads too
    photos.predict_photos([folder], out, model, "unused", 0.75, TrainingConfig(), every=2.0)
    counts = [None if content is None else len(content["photographs"]) for content in told]
    assert counts == [None, None, 1, 1, 3, 3]
    assert {path.name for path in out.iterdir()} == {"hopper.jpg", "predictions.csv", "predictions.json"}
    printed = capsys.readouterr().out
    assert "damaged.jpg: is not a readable photograph" in printed
    assert "faces: 1 female, 0 male, 0 unknown" in printed
