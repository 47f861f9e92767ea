"""A clean-up removes exactly what it lists, and nothing that a run needs, whenever the run comes to need it."""

import dataclasses
import datetime
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from ml import storage
from ml.config.clean_up import CleanUpConfig
from ml.config.deployment import load_deployment
from ml.errors import ConfigurationError, DataError, TransientError
from ml.flow.table import STAGES
from ml.retention import judge
from ml.retention.plan import load_plan, plan
from ml.retention.references import References
from ml.retention.remove import remove
from ml.tracking import experiments
from ml.tracking.registry import Registry
from ml.workflow import layout
from ml.workflow.execution import Result, run_stage
from ml.workflow.layout import CLAIM, REMOVAL
from ml.workflow.lease import Holder
from ml.workflow.manifest import load_manifest
from ml.workflow.run import load_run, slug
from ml.workflow.supervision import identity
from support.promotions import make_candidate
from support.records import Stated

BY_DELIVERY, JOIN = STAGES["extract"], STAGES["join_labels"]
EXPLORE = replace(STAGES["explore"], inputs=("extract",))  # needs no other stage
EXTRACT = replace(BY_DELIVERY, sources=("tables",), by_delivery=False)  # one attempt each time
DAY = 86_400.0


def work(context):
    storage.write_bytes(context.path("table", "part.txt"), context.uri.encode())
    return Result(Stated(metric=1))


def crash(context):
    storage.write_bytes(context.path("table", "part.txt"), b"half")
    storage.write_bytes(context.path("table", "_temporary", "0", "part.txt"), b"half of a half")
    raise OSError("the disk fell off")


def crashed(run, stage=EXTRACT, attempt="20260101T000000-0badcafe"):
    """Return an attempt that crashed and whose job has ended."""
    with pytest.raises(TransientError):
        run_stage(run, stage, crash, attempt)
    uri = storage.join(run.key_uri(stage), "attempts", attempt)
    storage.remove(storage.join(uri, "error.json"))  # as if the job was killed
    host, _, rest = identity().partition("|")
    storage.write_json(storage.join(uri, CLAIM), {"run": run.slug, "job": f"{host}|1|{rest.partition('|')[2]}"})
    return uri


def age(uri, days):
    """Set the age of all files and folders below a URI, except plans."""
    path = storage.local_path(uri)
    then = time.time() - days * DAY
    for file in [path, *path.rglob("*")]:
        if "maintenance" not in file.parts:
            os.utime(file, (then, then))


@pytest.fixture
def root(tmp_path):
    """The storage root of `opened`."""
    return storage.normalize(tmp_path / "storage")


@pytest.fixture
def made(root):
    """Make a plan that always keeps only the newest evaluated run."""

    def made_(is_running=judge.unscheduled, **values):
        return plan(root, {"keep_runs": 1, **values}, load_deployment(), is_running)

    return made_


def uris(items):
    return {item.uri for item in items}


def reasons(outcome):
    return {item.uri: item.reason for item in outcome.stayed}


def contents(root):
    return {path for path in storage.survey(root) if not path.startswith("maintenance/")}


def pinned_files(root, run):
    """Return the files of a run's folder and attempts, by their paths below the root."""
    folders = [run.uri, *(manifest.uri for manifest in run.pins().values())]
    return {f"{folder}/{path}".removeprefix(f"{root}/") for folder in folders for path in storage.survey(folder)}


def test_a_root_with_crashes_and_old_runs_loses_exactly_what_was_listed(opened, root, made):
    old = opened("old", max_fault_share=0.2)
    crash_of_old = crashed(old)
    for stage in (EXTRACT, EXPLORE, JOIN):
        run_stage(old, stage, work)
    orphan = storage.join(root, "stages/train/0a/checkpoints/gone-12345678")
    storage.write_bytes(storage.join(orphan, "state.json"), b"{}")
    half_open = storage.join(root, "runs/half-12345678/photographs.parquet")
    storage.write_bytes(half_open, b"listing")
    age(root, 100)
    new = opened("new")
    young_crash = crashed(new, attempt="20260101T000000-11111111")
    kept = run_stage(new, EXTRACT, work)
    before = contents(root)
    listed = made()
    assert contents(root) == before  # a plan touches nothing
    attempts = {m.uri for m in map(load_manifest, _attempts_of(root)) if m.uri != kept.uri}
    assert len(attempts) == 3
    assert uris(listed.items) == {old.uri, crash_of_old, orphan, half_open.rpartition("/")[0], *attempts}
    assert load_plan(listed.uri) == listed
    for item in listed.items:
        assert item.bytes == sum(stat.bytes for stat in storage.survey(item.uri).values())
        assert item.reason
    outcome = remove(listed, load_deployment())
    assert outcome.removed == listed.items
    assert outcome.stayed == []
    gone = {path for path in before if any(f"{root}/{path}".startswith(f"{uri}/") for uri in uris(listed.items))}
    pointers = before - gone - contents(root)
    assert {path.rpartition("/")[2] for path in pointers} == {"current.json"}  # of keys without attempts
    assert contents(root) == before - gone - pointers
    assert storage.exists(storage.join(young_crash, CLAIM))
    assert new.find_or_adopt(EXTRACT) == kept
    assert not storage.local_path(storage.join(root, "stages", "explore")).exists() or not list(
        storage.local_path(storage.join(root, "stages", "explore")).rglob("*")
    )
    assert made().items == []


def _attempts_of(root):
    return [f"{root}/{path.rpartition('/')[0]}" for path in storage.survey(root) if path.endswith("/manifest.json")]


def test_an_attempt_that_failed_is_not_in_work_though_its_process_lives(opened, root, made):
    run = opened()
    with pytest.raises(TransientError):
        run_stage(run, EXTRACT, crash, "failed")
    uri = storage.join(run.key_uri(EXTRACT), "attempts", "failed")
    age(root, 10)
    assert uris(made().items) == {uri}
    storage.remove(storage.join(uri, "error.json"))
    assert made().items == []
    assert made().kept["attempt: a live job is writing it"] == 1


def test_a_run_in_the_middle_of_its_stages_loses_nothing_whatever_its_age(opened, root, made):
    run = opened()
    first = run_stage(run, EXTRACT, work)
    done = {}

    def clean_up_meanwhile(context):
        # Only the claim of a live process protects it, not its age.
        storage.write_bytes(context.path("table", "part.txt"), b"written so far")
        age(root, 200)
        done["listed"] = made()
        done["outcome"] = remove(done["listed"], load_deployment())
        assert load_run(run.uri) == run
        assert context.inputs["extract"].whole()
        return Result()

    manifest = run_stage(run, EXPLORE, clean_up_meanwhile)
    assert uris(done["listed"].items) == set()
    assert [file.path for file in manifest.files] == ["table/part.txt"]
    assert list(run.pins().values()) == [first, manifest]


def test_a_run_started_between_plan_and_removal_keeps_what_it_found(opened, root, made):
    old = opened("old")
    found = run_stage(old, EXTRACT, work)
    lost = run_stage(old, EXPLORE, work)
    age(root, 100)
    listed = made()
    assert uris(listed.items) == {old.uri, found.uri, lost.uri}
    new = opened("new")
    assert new.find_or_adopt(EXTRACT) == found
    outcome = remove(listed, load_deployment())
    assert reasons(outcome) == {found.uri: "a run holds it"}
    assert uris(outcome.removed) == {old.uri, lost.uri}
    assert not storage.exists(storage.join(found.uri, REMOVAL))
    assert new.find_or_adopt(EXTRACT) == found
    assert new.find_or_adopt(EXPLORE) is None
    run_stage(new, EXPLORE, work)


def test_a_run_that_goes_on_between_plan_and_removal_is_kept(opened, root, made):
    old, cleared = opened("old"), opened("cleared", max_fault_share=0.2)
    for run in (old, cleared):
        run_stage(run, EXTRACT, work)
    age(root, 100)
    listed = made()
    assert {old.uri, cleared.uri} <= uris(listed.items)
    old.find_or_adopt(EXTRACT)
    outcome = remove(
        listed, load_deployment(), is_running=lambda flow, run_id: (flow, run_id) == ("training", "cleared")
    )
    assert reasons(outcome)[old.uri] == "changed since the plan"
    assert reasons(outcome)[cleared.uri] == "under way"
    assert set(reasons(outcome).values()) == {"changed since the plan", "under way", "a run holds it"}
    assert outcome.removed == []
    assert old.pins()
    assert cleared.pins()


def test_an_attempt_pinned_just_before_the_mark_stays(opened, root, made, monkeypatch):
    old = opened("old")
    found = run_stage(old, EXTRACT, work)
    age(root, 100)
    listed = made()
    new = opened("new")
    write_json = storage.write_json

    def find_then_write(uri, value):
        if uri.endswith(REMOVAL):
            assert new.find_or_adopt(EXTRACT) == found
        write_json(uri, value)

    monkeypatch.setattr(storage, "write_json", find_then_write)
    assert reasons(remove(listed, load_deployment())) == {found.uri: "a run holds it"}
    assert new.find_or_adopt(EXTRACT) == found


def test_a_run_that_pins_an_attempt_after_the_mark_drops_the_pin(opened, root, made, monkeypatch):
    old = opened("old")
    found = run_stage(old, EXTRACT, work)
    age(root, 100)
    listed = made()
    new = opened("new")
    answers = []
    refresh = References.refresh

    def find_then_refresh(self):
        if storage.exists(storage.join(found.uri, REMOVAL)):
            answers.append(new.find_or_adopt(EXTRACT))
        refresh(self)

    monkeypatch.setattr(References, "refresh", find_then_refresh)
    remove(listed, load_deployment())
    assert answers == [None]
    assert new.pins() == {}
    assert run_stage(new, EXTRACT, work).uri != found.uri


def test_runs_that_look_for_work_while_it_is_removed_never_hold_what_is_gone(opened, root, made):
    """Whatever the order of their steps, a run that has found an attempt finds it whole afterwards."""

    def find(run):
        if run.find_or_adopt(EXTRACT):
            assert run.pinned("extract").whole()

    def find_often(old, number):
        for time_ in range(20):
            find(replace(old, slug=f"finder-{old.slug}-{number}-{time_}"))

    for round_ in range(4):
        old = opened(f"old-{round_}", max_fault_share=0.1 + round_ / 10)
        run_stage(old, EXTRACT, work)
        age(root, 100)
        listed = made()
        with ThreadPoolExecutor(3) as pool:
            finders = [pool.submit(find_often, old, number) for number in range(3)]
            outcome = remove(listed, load_deployment())
            for finder in finders:
                finder.result()
        pins = References(root, load_deployment())
        pins.refresh()
        held_now = {attempt for run in pins.runs.values() for attempt in run.attempts}
        for attempt in held_now:
            assert load_manifest(f"{root}/stages/{attempt}").whole()
        assert not any(path.endswith(REMOVAL) for path in storage.survey(root))
        assert len(outcome.removed) + len(outcome.stayed) == len(listed.items)


def test_a_job_slower_than_the_grace_fails_rather_than_commit_what_is_left(opened, root, made):
    run = opened()

    def slow(context):
        storage.write_bytes(context.path("first", "part.txt"), b"early")
        host = identity().partition("|")[0]
        # As for a job on another host, whose state is unknown here.
        storage.write_json(context.path(CLAIM), {"run": run.slug, "job": f"not-{host}|1|1.0"})
        age(root, 10)
        outcome = remove(made(), load_deployment())
        assert uris(outcome.removed) == {context.uri}
        storage.write_bytes(context.path("second", "part.txt"), b"late")
        return Result()

    with pytest.raises(TransientError, match="grace_hours"):
        run_stage(run, EXTRACT, slow, "20260101T000000-0badcafe")
    assert run.find_or_adopt(EXTRACT) is None
    assert run.pins() == {}
    assert run_stage(run, EXTRACT, work).whole()


def test_an_attempt_committed_just_before_it_would_go_stays(opened, root, made, monkeypatch):
    run = opened()
    uri = crashed(run)
    age(root, 10)
    listed = made()
    assert uris(listed.items) == {uri}
    refresh = References.refresh

    def commit_then_refresh(self):
        if storage.exists(storage.join(uri, REMOVAL)):
            storage.write_json(storage.join(uri, "manifest.json"), {})
        refresh(self)

    monkeypatch.setattr(References, "refresh", commit_then_refresh)
    assert reasons(remove(listed, load_deployment())) == {uri: "committed since the plan"}
    assert storage.exists(storage.join(uri, "table", "part.txt"))
    assert not storage.exists(storage.join(uri, REMOVAL))


def evaluated(run):
    run_stage(run, EXTRACT, work)
    storage.write_json(storage.join(run.uri, "pins", "evaluate.json"), {"attempt": run.pinned("extract").uri})
    return run


def test_the_newest_evaluated_runs_stay_whatever_their_age(opened, root, made):
    runs = [evaluated(opened(f"run-{number}")) for number in range(4)]
    for number, run in enumerate(runs):
        age(run.uri, 200 - number)
    assert uris(made(keep_runs=2).items) == {runs[0].uri, runs[1].uri}
    assert uris(made(keep_runs=4).items) == set()
    assert uris(made(keep_runs=1, run_days=None).items) == set()
    assert uris(made(keep_runs=1, run_days=198.5).items) == {runs[0].uri, runs[1].uri}


def test_the_current_attempt_of_a_key_that_a_run_uses_stays(opened, root, made):
    run, redone = opened("a"), opened("b", force="extract")
    first, second = run_stage(run, EXTRACT, work), run_stage(redone, EXTRACT, work)
    age(root, 100)
    age(run.uri, 1)
    listed = made()
    assert uris(listed.items) == {redone.uri}
    assert listed.kept["attempt: it is the current one of a key that a run uses"] == 1
    remove(listed, load_deployment())
    assert opened("c").find_or_adopt(EXTRACT) == second
    assert run.find_or_adopt(EXTRACT) == first


def test_what_a_run_or_the_deployment_names_and_what_an_attempt_collects_stays(
    opened, root, made, tmp_path, monkeypatch
):
    manifests = [
        run_stage(opened(name, max_fault_share=share), EXTRACT, work)
        for name, share in (("a", 0.1), ("b", 0.2), ("c", 0.3), ("d", 0.4))
    ]
    named, default, part, lost = (manifest.uri for manifest in manifests)
    collecting = opened("collecting", max_fault_share=0.5)
    # The URI that the storage has on the machine where the run was opened.
    baseline = named.replace("file://", "file:///mnt")
    dataclasses.replace(collecting, config=collecting.config.model_copy(update={"baseline": baseline})).write()
    whole = run_stage(collecting, EXTRACT, work)
    content = {**json.loads(storage.read_bytes(f"{whole.uri}/manifest.json")), "parts": {"2026-01-01": part}}
    storage.write_json(f"{whole.uri}/manifest.json", content)
    (tmp_path / "deployment.yaml").write_text(f"prediction: {{model: {default}}}")
    monkeypatch.setenv("OPEN_IMAGES_CONFIG", str(tmp_path / "deployment.yaml"))
    age(root, 100)
    age(collecting.uri, 1)
    attempts = {item.uri for item in made().items if item.kind == "attempt"}
    assert attempts == {lost}


def test_pins_by_delivery_count(opened, root, made):
    run, other = opened(), opened("other", max_fault_share=0.2)
    held = run_stage(other, EXTRACT, work)
    storage.write_json(storage.join(run.uri, "pins", "extract.2026-01-01.json"), {"attempt": held.uri, "key": "k"})
    age(root, 100)
    age(run.uri, 1)
    assert uris(made().items) == {other.uri}


def test_what_a_run_collects_of_its_deliveries_stays_with_its_parts(opened, root, made):
    old = opened("old")
    whole = run_stage(old, BY_DELIVERY, work)
    (part,) = whole.parts.values()
    age(root, 100)
    listed = made()
    assert uris(listed.items) == {old.uri, whole.uri, part}
    new = opened("new")
    assert new.find_or_adopt(BY_DELIVERY) == whole
    outcome = remove(listed, load_deployment())
    assert reasons(outcome) == {whole.uri: "a run holds it", part: "a run holds it"}
    # The collecting attempt alone keeps its parts: here the pin of the part has been removed.
    for path in storage.survey(storage.join(new.uri, "pins")):
        if path != "extract.json":
            storage.remove(storage.join(new.uri, "pins", path))
    age(storage.join(root, "stages"), 100)
    assert made().items == []
    assert new.find_or_adopt(BY_DELIVERY) == whole


def test_checkpoints_stay_while_their_run_does(opened, root, made):
    run = opened()
    uri = storage.join(root, "stages/train/0a/checkpoints", run.slug)
    storage.write_bytes(storage.join(uri, "state.json"), b"{}")
    age(root, 30)
    assert made().items == []
    age(root, 100)
    storage.write_bytes(storage.join(uri, "state.json"), b"{ }")
    listed = made()
    assert listed.items == []  # a training is under way
    assert listed.kept == {"run: under way": 1, "checkpoints: within the grace period": 1}
    age(root, 100)
    assert uris(made().items) == {run.uri, uri}


def test_leases_that_killed_jobs_left_go_and_those_of_live_jobs_stay(opened, root, made):
    key = layout.key_uri(root, "extract", "0a")
    for number, job in ((1, "another-host|17|1.0"), (2, identity())):
        holder = Holder(run="run", job=job, since="2026-01-01T00:00:00")
        storage.write_bytes(layout.lease_uri(key, number), holder.content)
    assert made().kept == {"lease: within the grace period": 2}
    age(root, 10)
    listed = made()
    assert uris(listed.items) == {layout.lease_uri(key, 1)}
    assert listed.kept == {"lease: a live job holds it": 1}
    assert uris(remove(listed, load_deployment()).removed) == {layout.lease_uri(key, 1)}
    storage.write_bytes(layout.lease_uri(key, 2), b"damaged")
    age(root, 10)
    last = made()
    held = Holder(run="run", job="another-host|18|1.0", since="2026-01-01T00:00:00")
    storage.write_bytes(layout.lease_uri(key, 2), held.content)
    assert reasons(remove(last, load_deployment())) == {layout.lease_uri(key, 2): "changed since the plan"}
    age(root, 10)
    remove(made(), load_deployment())
    assert not storage.exists(key), "the rest of the key goes too"


@pytest.mark.parametrize("hours", [-1000, -1, 1, 1000])
def test_the_clock_of_the_machine_that_cleans_up_may_be_wrong(opened, root, made, monkeypatch, hours):
    work_of = run_stage(opened("old"), EXTRACT, work)
    age(root, 100)
    uncommitted = storage.join(root, "stages/extract/0a/attempts/half/table/part.txt")
    storage.write_bytes(uncommitted, b"written by another host, a moment ago")
    now = time.time

    class Wrong(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromtimestamp(now() + hours * 3600, tz)

    monkeypatch.setattr(datetime, "datetime", Wrong)
    monkeypatch.setattr(time, "time", lambda: now() + hours * 3600)
    listed = made()
    assert uris(listed.items) == {layout.run_uri(root, slug("old")), work_of.uri}
    remove(listed, load_deployment())
    assert storage.read_bytes(uncommitted)
    assert [name for name in storage.survey(layout.plans_uri(root)) if "clock" in name] == []


def test_a_damaged_pin_stops_the_clean_up(opened, root, made):
    run = opened()
    run_stage(run, EXTRACT, work)
    pin = storage.join(run.uri, "pins", "extract.json")
    storage.write_bytes(pin, b"{")
    with pytest.raises(DataError, match=r"pins/extract\.json is damaged"):
        made()
    storage.write_bytes(pin, b"{}")
    with pytest.raises(DataError, match=r"pins/extract\.json is damaged"):
        made()


def test_marks_of_a_killed_clean_up_are_removed(opened, root, made):
    run = opened()
    held = run_stage(run, EXTRACT, work)
    mark = storage.join(held.uri, REMOVAL)
    storage.write_json(mark, {})
    age(root, 10)
    listed = made()
    assert [(item.kind, item.uri) for item in listed.items] == [("mark", mark)]
    remove(listed, load_deployment())
    assert run.find_or_adopt(EXTRACT) == held


def test_old_plans_go_and_a_plan_is_removed_once(opened, root, made):
    opened()
    age(root, 100)
    first = made()
    assert len(remove(first, load_deployment()).removed) == 1
    assert set(reasons(remove(first, load_deployment())).values()) == {"already removed"}
    os.utime(storage.local_path(first.uri), (0, 0))
    assert uris(made().items) == {first.uri}


def test_a_missing_plan_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="not a clean-up plan"):
        load_plan(storage.normalize(tmp_path / "plan.json"))


def test_the_grace_is_longer_than_any_task_may_take(tmp_path, monkeypatch):
    from ml.flow.table import ALL_STAGES

    assert CleanUpConfig().grace_hours > max(stage.timeout for stage in ALL_STAGES.values())
    (tmp_path / "deployment.yaml").write_text("timeouts: {train: 200}")
    monkeypatch.setenv("OPEN_IMAGES_CONFIG", str(tmp_path / "deployment.yaml"))
    with pytest.raises(ConfigurationError, match="grace_hours must be more than the longest timeout, 200"):
        load_deployment()
    (tmp_path / "deployment.yaml").write_text("timeouts: {train: 200}\nmaintenance: {grace_hours: 240}")
    assert load_deployment().timeout("train") == 200
    assert load_deployment().timeout("chip") == STAGES["chip"].timeout


# --- MLflow


@pytest.fixture
def client(root):
    uri = experiments.tracking_uri(root)
    storage.local_path(storage.join(root, "mlflow")).mkdir(parents=True)
    return experiments.connect(uri)


def test_experiments_and_registered_models_hold_attempts_until_they_are_deleted(opened, root, made, client):
    from mlflow import MlflowClient

    assert isinstance(client, MlflowClient)
    runs = [opened(name, max_fault_share=share) for name, share in (("a", 0.1), ("b", 0.2), ("c", 0.3))]
    attempts = [run_stage(run, EXTRACT, work).uri for run in runs]
    evaluation = run_stage(runs[0], EXPLORE, work).uri
    experiment = client.create_experiment("open-images-human-face")
    tags = [{"attempt": attempts[0], "evaluation": evaluation}, {"attempt": attempts[1]}]
    tracked, registered = (client.create_run(experiment, tags=each).info.run_id for each in tags)
    client.create_registered_model("faces")
    client.create_model_version("faces", f"runs:/{registered}/model", registered)
    age(storage.join(root, "runs"), 100)
    age(storage.join(root, "stages"), 100)
    listed = made()
    # The folder of a registered model's run is kept, and with it everything that the run pinned.
    assert uris(listed.items) == {runs[0].uri, runs[2].uri, attempts[2]}
    assert listed.kept["run: a registered model comes from it"] == 1
    client.delete_run(tracked)
    client.delete_run(registered)
    assert uris(made().items) == {runs[0].uri, runs[2].uri, attempts[0], evaluation, attempts[2]}
    client.delete_registered_model("faces")
    assert uris(made().items) == {*(run.uri for run in runs), *attempts, evaluation}


def test_a_version_of_the_registry_holds_its_attempts_and_its_training_without_a_run_of_mlflow(root, made, tmp_path):
    candidate = make_candidate(tmp_path / "storage", "trained")
    Registry(root, candidate.run.config).register(
        candidate.trained, candidate.evaluated, candidate.run.uri, candidate.as_of
    )
    prediction = storage.join(root, "runs", "prediction")
    storage.write_json(
        storage.join(prediction, "run.json"),
        {"run_id": "prediction", "flow": "prediction", "config": {"model": candidate.trained.uri}},
    )
    age(storage.join(root, "runs"), 100)
    age(storage.join(root, "stages"), 100)
    listed = uris(made().items)
    assert prediction in listed, "which used the model, and is not what it came from"
    assert not {candidate.run.uri, candidate.trained.uri, candidate.evaluated.uri} & listed
    storage.remove(candidate.run.uri)
    assert not {candidate.trained.uri, candidate.evaluated.uri} & uris(made().items)


def test_mlflow_that_cannot_be_asked_stops_the_clean_up(opened, made, tmp_path, monkeypatch):
    opened()
    (tmp_path / "deployment.yaml").write_text("mlflow: http://127.0.0.1:9")
    monkeypatch.setenv("OPEN_IMAGES_CONFIG", str(tmp_path / "deployment.yaml"))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TransientError, match="does not answer"):
        made()
