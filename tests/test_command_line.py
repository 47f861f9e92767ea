"""Wrong input at the command line: one line that says what is wrong, a non-zero exit, and nothing written."""

import errno
import os
import subprocess
import sys

import pytest

from ml import __main__ as command_line

TRAIN_BOXES = "2018_04/train/train-annotations-bbox.csv"


def ml(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "ml", *map(str, arguments)],
        env={**os.environ, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_another_python_is_told_what_to_run_first():
    """Without the site packages, as any Python outside of `.venv` is."""
    done = subprocess.run([sys.executable, "-S", "-m", "ml", "runs"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "lacks the project's packages" in done.stderr
    assert "scripts/local_airflow.py env" in done.stderr


def absent(release):
    return ["--release", release / "absent"]


def without_a_file(release):
    (release / TRAIN_BOXES).unlink()
    return ["--release", release]


def without_a_column(release):
    file = release / TRAIN_BOXES
    file.write_text(file.read_text().replace("XMin", "Left", 1))
    return ["--release", release]


def with_an_empty_file(release):
    (release / "v5" / "class-descriptions-boxable.csv").write_bytes(b"")
    return ["--release", release]


def with_an_unknown_class(release):
    return ["--release", release, "--chip-class", "Human faces"]


def with_a_limit_of_zero(release):
    return ["--release", release, "--images-per-label", "0"]


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (absent, "There is no release at"),
        (without_a_file, f"has no {TRAIN_BOXES}"),
        (without_a_column, "lacks the column XMin"),
        (with_an_empty_file, "class-descriptions-boxable.csv is empty"),
        (with_an_unknown_class, "has no class 'Human faces'"),
        (with_a_limit_of_zero, "images_per_label = '0'"),
    ],
)
def test_a_run_is_refused_in_one_line(release_copy, tmp_path, spoil, expected):
    done = ml("open-run", *spoil(release_copy), "--storage", tmp_path / "storage")
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert expected in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "storage").exists()


def test_a_sample_release_does_not_overwrite(sample_release):
    done = ml("sample-release", sample_release)
    assert done.returncode != 0
    assert done.stderr.startswith("error: ")
    assert "not an empty folder" in done.stderr


def test_a_run_opened_on_the_drawn_release_prints_its_folder(sample_release, tmp_path):
    done = ml("open-run", "--release", sample_release, "--storage", tmp_path / "storage", "--epochs", 3)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "storage" / "runs" / done.stdout.strip().rsplit("/", 1)[1] / "run.json").exists()


def test_a_stage_before_its_inputs_says_which_one_is_missing(sample_release, tmp_path):
    opened = ml("open-run", "--release", sample_release, "--storage", tmp_path / "storage")
    done = ml("train", "--run", opened.stdout.strip())
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].startswith("error: Stage featurize has not been done")


def test_an_error_of_a_disk_or_a_store_that_is_understood_prints_one_line(monkeypatch, capsys):
    def refuse():
        raise PermissionError(errno.EACCES, "Permission denied", "/data/storage/runs")

    monkeypatch.setattr(command_line, "app", refuse)
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("error: Access was denied: ")
