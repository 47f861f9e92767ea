"""The doctor compares work that was done twice."""

import json

import pytest
import yaml

from ml import storage
from ml.doctor import content_check, examine
from ml.doctor.content_check import check_content
from ml.workflow import layout
from ml.workflow.repeats import find_repeats
from support.attempts import commit_attempt


@pytest.fixture
def attempt(tmp_path):
    """Commit an attempt with one file, whose values are given."""

    def make(stage, name, number=1, key="key", **values):
        return commit_attempt(tmp_path, stage, name, {"note.json": json.dumps({"n": number}).encode()}, key, **values)

    return make


def test_nothing_is_compared_where_no_work_was_done_twice(tmp_path, attempt):
    assert check_content(str(tmp_path)) == ("ok", "no work was done twice", "")
    attempt("extract", "1", 1)
    attempt("extract", "2", 2, key="other")
    assert check_content(str(tmp_path)) == ("ok", "no work was done twice", "")


def test_equal_attempts_are_counted(tmp_path, attempt):
    for key in ("one", "other"):
        for name in ("1", "2"):
            attempt("chip", name, key=key)
    assert check_content(str(tmp_path)) == ("ok", "2 repeated attempts have the same content", "")


def test_the_two_newest_attempts_are_compared_and_the_first_difference_named(tmp_path, attempt):
    attempt("chip", "1", number=5)
    old, new = attempt("chip", "2", number=6), attempt("chip", "3", number=7)
    state, found, advice = check_content(str(tmp_path))
    assert state == "fault"
    assert found.startswith("chip/key/attempts/2 and chip/key/attempts/3 differ: note.json")
    assert '"n": 6' in found
    assert advice.endswith(f"python -m ml compare-content {old.uri} {new.uri}")


def test_of_several_differences_the_first_stages_is_reported(tmp_path, attempt):
    for stage, names in (("featurize", ("3", "4")), ("join_labels", ("1", "2"))):
        for number, name in enumerate(names):
            attempt(stage, name, number)
    assert "join_labels/key/attempts/1 and" in check_content(str(tmp_path))[1]


def test_other_versions_of_a_library_are_a_warning_that_names_them(tmp_path, attempt):
    attempt("chip", "1", number=1, versions={"numpy": "2.3", "pyarrow": "26"})
    attempt("chip", "2", number=2, versions={"numpy": "2.4", "pyarrow": "26"})
    state, _, advice = check_content(str(tmp_path))
    assert state == "warning"
    assert "other versions (numpy 2.3 and 2.4)" in advice


def test_a_training_may_differ_and_so_may_what_is_not_committed(tmp_path, attempt):
    for number in (1, 2):
        attempt("train", str(number), number)
    attempt("extract", "1", 1)
    dropped, removed = attempt("extract", "2", 2), attempt("extract", "3", 3)
    storage.remove(layout.manifest_uri(dropped.uri))
    storage.write_json(layout.removal_uri(removed.uri), {})
    assert check_content(str(tmp_path)) == ("ok", "no work was done twice", "")


def test_only_the_newest_keys_are_compared_and_the_others_counted(tmp_path, attempt, monkeypatch):
    monkeypatch.setattr(content_check, "COMPARED", 2)
    for key in range(4):
        for again in range(2):
            attempt("chip", f"{key}{again}", number=again if key < 2 else 0, key=f"key{key}")  # old ones differ
    assert [repeat.newest[-2:] for repeat in find_repeats(str(tmp_path), ["chip"])] == ["31", "21", "11", "01"]
    found = ("ok", "2 repeated attempts have the same content; 2 more not compared", "")
    assert check_content(str(tmp_path)) == found


def test_attempts_that_are_too_large_for_the_time_limit_are_left_out(tmp_path, attempt, monkeypatch):
    monkeypatch.setattr(content_check, "COMPARED_BYTES", 10)
    attempt("chip", "1"), attempt("chip", "2")
    found = ("ok", "0 repeated attempts have the same content; 1 more not compared", "")
    assert check_content(str(tmp_path)) == found


def test_attempts_that_collect_parts_are_compared_by_their_parts(tmp_path, attempt):
    parts = [attempt("chip", str(number), number, key="part") for number in (1, 2)]
    for part in parts:
        commit_attempt(tmp_path, "chip", part.attempt, {}, key="all", parts={"release": part.uri})
    assert "chip/part/attempts/1 and chip/part/attempts/2 differ" in check_content(str(tmp_path))[1]


def test_a_file_that_is_cut_off_is_a_fault(tmp_path, attempt):
    attempt("chip", "1")
    cut = attempt("chip", "2")
    storage.write_bytes(storage.join(cut.uri, "note.json"), b"{")
    state, found, _ = check_content(str(tmp_path))
    assert (state, found) == ("fault", f"{cut.uri}: files are missing or cut off")


def test_only_a_full_examination_compares(tmp_path, attempt, monkeypatch):
    attempt("chip", "1", 1), attempt("chip", "2", 2)
    file = tmp_path / "deployment.yaml"
    file.write_text(yaml.safe_dump({"storage": str(tmp_path), "release": str(tmp_path)}))
    monkeypatch.setenv("OPEN_IMAGES_CONFIG", str(file))
    monkeypatch.setattr(examine, "check_tensorflow", lambda: ("ok", "", ""))
    states = [{each.check: each.state for each in examine.examine(full)} for full in (False, True)]
    assert "content" not in states[0]
    assert states[1]["content"] == "fault"
