"""Promotions under Airflow's own scheduler: started by candidates' events, approved, refused, rejected, moved back.

The tests build on one another, in their order. Each looks at the run's tasks, the registry, and the model of a
prediction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

import airflow_home
from ml import storage
from ml.config.deployment import Deployment
from ml.config.training import TrainingConfig
from ml.prediction.run import open_prediction
from ml.tracking.registry import Registry
from ml.workflow.run import slug
from support.airflow_root import Airflow, make_root, running, wait_for
from support.browser import logged_in, shoot
from support.models import png_of
from support.promotions import event_of, make_candidate

pytestmark = [pytest.mark.slow, pytest.mark.browser]
DAG = "open_images_promotion"
TASKS = ("choose", "compare", "gate", "approve", "promote", "refuse", "move_back")
MONTHS = {name: f"2026-{month:02d}-01T00:00:00+00:00" for month, name in enumerate("abcdef", 1)}


class Promotions(Airflow):
    """An Airflow that runs, and how to ask it about promotions."""

    def runs(self) -> set[str]:
        return {run["dag_run_id"] for run in self.get("/dagRuns")["dag_runs"]}

    def announce(self, *extras: dict[str, Any]) -> str:
        """Create events of the candidate's asset, and give the id of the run that they start."""
        before = self.runs()
        assets = self.ask("GET", "/assets?name_pattern=open_images_candidate")["assets"]
        for extra in extras:
            self.ask("POST", "/assets/events", asset_id=assets[0]["id"], extra=extra)
        (run_id,) = wait_for("a promotion", lambda: self.runs() - before)
        return run_id

    def end(self, run_id: str) -> dict[str, str | None]:
        """Wait until a run has ended, which must be well, and give the states of its tasks."""
        assert self.wait_to_end(run_id) == "success", self.states(run_id)
        return self.states(run_id)

    def question(self, run_id: str) -> dict[str, Any]:
        """Wait until a run asks for approval, and give what it asks.

        That is when the scheduler, too, has heard that the task waits, a moment after the task has said so: an answer
        within that moment would set the task going before, and the scheduler would take it for lost.
        """
        wait_for("the question", lambda: self.states(run_id)["approve"] == "awaiting_input")
        # Not the whole id: in logs Airflow masks what could be a token, and its random end may begin as one does.
        heard = f"TaskInstance Finished: dag_id={DAG}, task_id=approve, run_id={run_id[:40]}"
        log = self.root / "var" / "airflow" / "standalone.log"
        wait_for("a scheduler that knows of the question", lambda: heard in log.read_text(errors="replace"))
        return dict(self.get(f"/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails"))

    def answer(self, run_id: str, option: str) -> None:
        """Answer a question that has been waited for."""
        path = f"/dags/{DAG}/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails"
        self.ask("PATCH", path, chosen_options=[option], params_input={})


@pytest.fixture(scope="module")
def airflow(sample_release, tmp_path_factory) -> Iterator[Promotions]:
    root = tmp_path_factory.mktemp("promotions") / "root"
    where = make_root(root, sample_release)
    with running(root, DAG) as (client, password):
        yield Promotions(root, where, client, password, DAG)


@pytest.fixture(scope="module")
def candidates(airflow):
    """Models by name: a is right about most faces, b about none, e is as bad as guessing, the others about all."""
    bias = dict.fromkeys("abcdef", 0.0) | {"a": 6.0}
    return {
        name: make_candidate(
            airflow.storage,
            name,
            MONTHS[name],
            right=60 if name == "e" else 108,
            sharpness=-40.0 if name == "b" else 40.0,
            bias=bias[name],
        )
        for name in "abcdef"
    }


@pytest.fixture
def used(airflow, candidates, tmp_path):
    """The name of the champion, that of the one before, and that of the model which a prediction takes."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(png_of((1, 2, 3)))

    def ask() -> tuple[str | None, ...]:
        registry = Registry(str(airflow.storage), TrainingConfig())
        run = open_prediction(
            str(airflow.storage), "prediction", {"photographs": str(tmp_path / "photos")}, Deployment()
        )
        storage.remove(run.uri)
        attempts = [version and version.train for version in (registry.champion(), registry.previous())]
        return tuple(uri and uri.rpartition("/")[2] for uri in (*attempts, run.config.model))

    return ask


def decision(airflow, name):
    (version,) = (
        v for v in Registry(str(airflow.storage), TrainingConfig()).versions() if v.train.endswith(f"/{name}")
    )
    return version.decision, version.decided


def test_the_first_candidate_is_approved_without_a_comparison(airflow, candidates, used):
    run_id = airflow.announce(event_of(candidates["a"]))
    question = airflow.question(run_id)
    assert question["options"] == ["Approve", "Reject"]
    assert question["defaults"] == ["Reject"]
    assert "open-images-human-face" in question["subject"]
    assert "| accuracy | 0.900 |" in question["body"]
    assert used()[:2] == (None, None), "not before somebody has answered"
    airflow.answer(run_id, "Approve")
    expected = dict.fromkeys(TASKS, "success") | dict.fromkeys(("compare", "refuse", "move_back"), "skipped")
    assert airflow.end(run_id) == expected
    assert used() == ("a", None, "a")
    assert decision(airflow, "a")[0] == "promoted"
    assert f"by {airflow_home.USER}" in decision(airflow, "a")[1]
    extra = airflow.events("open_images_champion")[0]
    assert (extra["champion"]["number"], extra["previous"], extra["by"]) == (1, None, airflow_home.USER)


def test_a_worse_candidate_is_refused_by_the_gate_and_nobody_is_asked(airflow, candidates, used, tmp_path):
    run_id = airflow.announce(event_of(candidates["b"]))
    states = airflow.end(run_id)
    assert (states["gate"], states["approve"], states["promote"]) == ("success", "skipped", "skipped")
    assert states["refuse"] == "success", "which a reader of the grid sees"
    assert airflow.xcom(run_id, "refuse")["reason"] == airflow.xcom(run_id, "gate")["reasons"]
    verdict = airflow.xcom(run_id, "gate")
    assert not verdict["passed"]
    assert {rule["name"] for rule in verdict["rules"] if not rule["passed"]} == {"difference", "slices"}
    folder = storage.join(str(airflow.storage), "runs", slug(run_id, "promotion"))
    assert storage.read_json(storage.join(folder, "verdict.json"))["passed"] is False
    assert decision(airflow, "b")[0] == "refused"
    assert used() == ("a", None, "a")
    with logged_in(str(airflow.client.base_url), airflow.password) as page:
        page.goto(f"/dags/{DAG}/runs/{run_id}/plugin/report")
        tab = page.locator(".open-images")
        tab.get_by_text(re.compile("^Refused: the gate did not pass version 2")).wait_for()
        tab.get_by_text(re.compile("^Not fulfilled: not worse than the champion")).wait_for()
        tab.get_by_role("img", name=re.compile("^Loss by epoch")).wait_for()
        shoot(page, tmp_path / "refused.png")


def test_a_better_candidate_that_a_person_rejects_changes_nothing(airflow, candidates, used):
    run_id = airflow.announce(event_of(candidates["c"]))
    body = airflow.question(run_id)["body"]
    assert "**Champion:** Version 1" in body
    assert "| accuracy | 1.000 |" in body
    airflow.answer(run_id, "Reject")
    states = airflow.end(run_id)
    assert (states["compare"], states["approve"], states["promote"]) == ("success", "success", "skipped")
    assert states["refuse"] == "success"
    assert decision(airflow, "c")[0] == "rejected"
    assert used() == ("a", None, "a")


def test_of_the_candidates_that_gather_while_a_question_is_open_the_newest_is_taken(airflow, candidates, used):
    open_question = airflow.trigger(candidate="3")
    airflow.question(open_question)
    before = airflow.runs()
    (asset,) = airflow.ask("GET", "/assets?name_pattern=open_images_candidate")["assets"]
    for name in "bdf":  # the first of them alone is what Airflow hands to the run
        airflow.ask("POST", "/assets/events", asset_id=asset["id"], extra=event_of(candidates[name]))
    airflow.answer(open_question, "Reject")
    assert airflow.end(open_question)["promote"] == "skipped"
    (run_id,) = wait_for("the next promotion", lambda: airflow.runs() - before)
    assert airflow.question(run_id)["subject"].startswith("Promote open-images-human-face, version")
    assert airflow.xcom(run_id, "choose")["candidate"]["train"] == candidates["f"].trained.uri
    airflow.answer(run_id, "Reject")
    airflow.end(run_id)
    assert used() == ("a", None, "a")


def test_no_answer_in_time_is_a_rejection(airflow, candidates, used):
    run_id = airflow.trigger(candidate=candidates["d"].trained.uri, approval_hours=0.001)
    assert airflow.end(run_id)["promote"] == "skipped"
    assert decision(airflow, "d")[0] == "timed out"
    assert used() == ("a", None, "a")


def test_a_candidate_that_was_decided_upon_is_not_asked_about_again(airflow, candidates, used):
    run_id = airflow.announce(event_of(candidates["d"]))
    assert set(airflow.end(run_id).values()) == {"skipped"}
    assert "decided before (timed out" in airflow.xcom(run_id, "choose", "reason")


def test_a_backfill_asks_nobody(airflow, candidates, used):
    run_id = airflow.announce(event_of(candidates["e"], run_type="backfill"))
    assert set(airflow.end(run_id).values()) == {"skipped"}
    assert "include_backfills" in airflow.xcom(run_id, "choose", "reason")


def test_a_rejected_candidate_that_is_named_is_approved_on_airflows_page(airflow, candidates, used, tmp_path):
    run_id = airflow.trigger(candidate="3")
    airflow.question(run_id)
    with logged_in(str(airflow.client.base_url), airflow.password) as page:
        page.goto(f"/dags/{DAG}/runs/{run_id}/tasks/approve/required_actions")
        table = page.get_by_role("table").filter(has_text="95% interval")
        table.wait_for()
        assert table.get_by_role("cell", name="log loss").count() == 1
        assert page.get_by_text("file://").count() == 0
        shoot(page, tmp_path / "approve.png")
        page.get_by_role("button", name="Approve").click()
        wait_for("the answer", lambda: airflow.states(run_id)["approve"] != "awaiting_input")
    assert airflow.end(run_id)["promote"] == "success"
    assert used() == ("c", "a", "c")
    assert decision(airflow, "c")[0] == "promoted"


def test_the_champion_is_moved_back_and_nothing_else_is_done(airflow, candidates, used):
    run_id = airflow.trigger(move_back=True)
    states = airflow.end(run_id)
    assert states.pop("move_back") == "success"
    assert set(states.values()) == {"skipped"}
    assert used() == ("a", "c", "a")
    assert decision(airflow, "c")[0] == "moved back"
    extra = airflow.events("open_images_champion")[0]
    assert (extra["champion"]["number"], extra["previous"]["number"]) == (1, 3)


def test_in_automatic_mode_passing_the_gate_is_enough(airflow, candidates, used):
    run_id = airflow.trigger(candidate="3", mode="automatic")
    states = airflow.end(run_id)
    assert (states["compare"], states["approve"], states["promote"]) == ("success", "skipped", "success")
    assert airflow.xcom(run_id, "compare")["found_done"]
    assert used() == ("c", "a", "c")
    assert "mode automatic" in decision(airflow, "c")[1]


def test_the_models_page_shows_champion_and_decisions(airflow, candidates, tmp_path):
    with logged_in(str(airflow.client.base_url), airflow.password) as page:
        page.get_by_role("link", name="Models", exact=True).click()
        models = page.locator(".open-images").get_by_role("region", name=re.compile("models, with the parameters"))
        models.wait_for()
        rows = {row.inner_text(): row for row in models.get_by_role("row").all()[1:]}
        told = {found[1]: text for text in rows if (found := re.search(r"version (\d)", text))}
        assert sorted(told) == ["1", "2", "3", "4", "5"], "none that only a backfill has trained is registered"
        expected = {"1": "previous", "2": "refused", "3": "champion", "4": "rejected", "5": "timed out"}
        assert {number: word for number, word in expected.items() if word in told[number]} == expected
        models.scroll_into_view_if_needed()
        shoot(page, tmp_path / "models-champion.png")
        rows[told["2"]].get_by_role("link", name="refused").click()
        page.locator(".open-images").get_by_text(re.compile("refused", re.IGNORECASE)).first.wait_for()
