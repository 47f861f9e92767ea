"""Exports as a whole: counts, credits, deliveries, refusals, and that one that breaks off leaves nothing behind."""

import csv
import json
import signal
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from ml import storage
from ml.__main__ import app
from ml.errors import ConfigurationError, DataError, ResourceError
from ml.export.formats import Format
from ml.export.run import export_run
from support.attempts import commit_attempt
from support.exports import Face, Photograph, make_run, tables_of

FORMS = [form.value for form in Format]


def attribution(out):
    with (out / "attribution.csv").open(newline="", encoding="utf-8") as file:
        return {row["photograph"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize("form", FORMS)
def test_every_photograph_is_credited_as_the_release_does(run, export, form):
    out, record = export(run, form)
    credits = attribution(out)
    listed = {f"{row['subset']}/{row['image_id']}.jpg": row for row in tables_of(run)["images"]}
    assert len(credits) == record.photographs > 0
    for name, row in credits.items():
        for ours, theirs in (("author",) * 2, ("title",) * 2, ("license",) * 2, ("landing_page", "landing_url")):
            assert row[ours] == (listed[name][theirs] or ""), (name, ours)
    assert (record.without_author, record.without_license) == (1, 1)


@pytest.mark.parametrize("form", FORMS)
def test_counts_add_up_to_all_boxes(run, faces, export, form):
    out, record = export(run, form)
    left_out = sum(count for reasons in record.left_out.values() for count in reasons.values())
    assert record.total + left_out == len(faces)
    assert json.loads((out / "export.json").read_text()) == record.json_values()


@pytest.mark.parametrize("form", FORMS)
def test_an_export_says_nothing_of_where_the_run_is_stored(run, export, tmp_path, form):
    out, _ = export(run, form)
    for file in out.rglob("*"):
        assert not file.is_file() or str(tmp_path).encode() not in file.read_bytes(), file


@pytest.mark.parametrize("form", FORMS)
def test_two_exports_of_a_run_are_the_same(run, tmp_path, form):
    first, second = tmp_path / "first", tmp_path / "second"
    for out in (first, second):
        export_run(run.uri, str(out), Format(form))
    files = [{file.relative_to(out): file.read_bytes() for file in out.rglob("*.*")} for out in (first, second)]
    assert files[0] == files[1]


@pytest.mark.parametrize("form", FORMS)
def test_of_several_deliveries_the_newest_says_what_a_photograph_is(tmp_path, export, form):
    early, late = "2020-01-01", "2020-02-01"
    old = Photograph(1, author="Before", delivery=early)
    faces = [Face(Photograph(1, author="After", delivery=late)), Face(Photograph(2, delivery=early), "male")]
    out, record = export(make_run(tmp_path, faces, deliveries=(early, late), replaced=[old]), form)
    assert record.faces["train"] == {"female": 1, "male": 1}
    row = attribution(out)[f"train/{old.id}.jpg"]
    assert (row["author"], row["landing_page"]) == ("After", f"https://example.org/1/{late}")


def test_photographs_without_faces_are_not_credited(tmp_path, export):
    out, _ = export(make_run(tmp_path, [Face(Photograph(1))], unlisted=[Photograph(99)]), "hugging-face")
    assert len(attribution(out)) == 1


def test_a_folder_that_is_not_empty_is_refused_before_anything_is_read(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="not an empty folder"):
        export_run(run.uri, str(tmp_path / "out"), Format.COCO)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_filled(run, tmp_path):
    (tmp_path / "out").mkdir()
    export_run(run.uri, str(tmp_path / "out"), Format.COCO)
    assert (tmp_path / "out" / "export.json").exists()


def test_a_store_is_refused_with_advice(run):
    with pytest.raises(ConfigurationError, match="copy it"):
        export_run(run.uri, "s3://bucket/out", Format.COCO)


def test_a_run_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="There is no run"):
        export_run(str(tmp_path / "runs" / "none"), str(tmp_path / "out"), Format.COCO)


def test_a_run_without_chips_is_refused(run, tmp_path):
    storage.remove(storage.join(run.uri, "pins", "chip.json"))
    with pytest.raises(DataError, match="Stage chip has not been done"):
        export_run(run.uri, str(tmp_path / "out"), Format.HUGGING_FACE)
    assert not (tmp_path / "out").exists()


def test_a_run_without_any_chip_is_refused_with_the_reasons(tmp_path):
    run = make_run(tmp_path, [Face(Photograph(1), chipped=False)])
    with pytest.raises(DataError, match=r"no face to export .*1 too small"):
        export_run(run.uri, str(tmp_path / "out"), Format.HUGGING_FACE)
    assert not (tmp_path / "out").exists()


def test_features_of_other_chips_are_refused(run, tmp_path):
    other = run.pinned("chip").uri.replace("/key/", "/other/")
    run.pin(commit_attempt(run.root, "featurize", "second", {}, inputs={"chip": other}))
    with pytest.raises(DataError, match=r"featurize .* another output of stage chip"):
        export_run(run.uri, str(tmp_path / "out"), Format.HUGGING_FACE)


def test_too_little_disk_is_told_before_writing(run, tmp_path, monkeypatch):
    monkeypatch.setattr("ml.export.run.BYTES_PER_FACE", 10**15)
    with pytest.raises(ResourceError, match="free"):
        export_run(run.uri, str(tmp_path / "out"), Format.COCO)
    assert not (tmp_path / "out").exists()


def test_a_killed_export_leaves_nothing_under_its_name(run, tmp_path):
    code = (
        "import os, signal, sys; from ml.export import run; from ml.export.formats import Format\n"
        "run.write_croissant = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)\n"
        "run.export_run(sys.argv[1], sys.argv[2], Format.HUGGING_FACE)"
    )
    done = subprocess.run([sys.executable, "-c", code, run.uri, str(tmp_path / "out")], timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    export_run(run.uri, str(tmp_path / "out"), Format.HUGGING_FACE)
    assert (tmp_path / "out" / "croissant.json").exists()


@pytest.mark.parametrize("form", FORMS)
def test_an_export_that_breaks_off_leaves_no_folder(run, tmp_path, monkeypatch, form):
    def fail(*arguments):
        assert list(tmp_path.glob(".out.partial-*"))  # something was written by now, elsewhere
        raise KeyboardInterrupt

    monkeypatch.setattr("ml.export.run.write_attribution", fail)
    with pytest.raises(KeyboardInterrupt):
        export_run(run.uri, str(tmp_path / "out"), Format(form))
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out.partial-*"))


def test_the_command_says_what_was_exported_and_left_out(run, tmp_path):
    arguments = ["export", "--run", run.uri, "--out", str(tmp_path / "out"), "--format", "image-folder"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    for line in ("train: 2 female, 2 male", "validation: 0 female, 2 male", "test: 1 female, 0 male", "1 too small"):
        assert line in done.stdout


def test_the_command_refuses_a_format_that_it_does_not_know(run, tmp_path):
    done = CliRunner().invoke(app, ["export", "--run", run.uri, "--out", str(tmp_path / "out"), "--format", "yolo"])
    assert done.exit_code == 2


def test_a_blank_author_counts_as_none(tmp_path, export):
    _, record = export(make_run(tmp_path, [Face(Photograph(1, author=" ", license=""))]), "coco")
    assert (record.without_author, record.without_license) == (1, 1)
