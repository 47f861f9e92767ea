"""What a run sees of a landing: which deliveries, in which state, and what refuses it."""

import csv
import datetime
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml import storage
from ml.errors import DataError, NothingNewError
from ml.flow.table import STAGES
from ml.photographs.pack import pack
from ml.photographs.source import SUBSETS
from ml.release import landing as landing_module
from ml.release import note as note_module
from ml.workflow.execution import Result, run_stage
from ml.workflow.layout import delivery_cache
from ml.workflow.opening import open_run
from ml.workflow.run import load_run
from support.landings import deliver
from support.records import Stated

EXTRACT, EXPLORE = STAGES["extract"], replace(STAGES["explore"], inputs=("extract",))
MONTHS = ("2020-01-15", "2020-02-15", "2020-03-15")


def moment(text):
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)


NOW = moment("2026-01-01")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """Make a landing of three monthly deliveries of ten scenes each, which share no image."""
    landing = tmp_path_factory.mktemp("drawn") / "landing"
    for name in MONTHS:
        deliver(landing, name, scenes=10)
    return landing


@pytest.fixture
def landing(drawn, tmp_path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "landing"))


def open_(landing, tmp_path, run_id="run", as_of=None, since=None, **values):
    return open_run(str(tmp_path / "storage"), run_id, {"release": str(landing), **values}, as_of, since)


def seen(run):
    return [delivery.name for delivery in run.deliveries]


@given(
    days=st.lists(st.dates(datetime.date(2000, 1, 1), datetime.date(2030, 1, 1)), unique=True),
    as_of=st.datetimes(datetime.datetime(2000, 1, 1), datetime.datetime(2030, 1, 1), timezones=st.just(datetime.UTC)),
    length=st.timedeltas(datetime.timedelta(0), datetime.timedelta(days=400)),
)
def test_intervals_share_no_delivery_and_lose_none(days, as_of, length):
    names = [day.isoformat() for day in sorted(days)]
    start = as_of - length
    until, within = landing_module.visible(names, as_of), landing_module.visible(names, as_of, start)
    assert sorted(within + landing_module.visible(names, start)) == until
    assert all(landing_module.midnight(datetime.date.fromisoformat(name)) < as_of for name in until)


def test_a_run_sees_what_was_delivered_before_its_as_of(landing, tmp_path):
    assert seen(open_(landing, tmp_path, as_of=moment("2020-02-01"))) == ["2020-01-15"]
    assert seen(open_(landing, tmp_path, as_of=moment("2020-02-15"))) == ["2020-01-15"]  # that day is not before it
    assert seen(open_(landing, tmp_path, as_of=moment("2020-02-15T00:00:01"))) == ["2020-01-15", "2020-02-15"]
    by_hand = open_(landing, tmp_path, **{"as_of": None})
    assert seen(by_hand) == list(MONTHS)
    assert load_run(by_hand.uri) == by_hand


def test_the_parameter_as_of_includes_its_day(landing, tmp_path):
    run = open_run(str(tmp_path / "storage"), "run", {"release": str(landing), "as_of": "2020-02-15"})
    assert seen(run) == ["2020-01-15", "2020-02-15"]
    assert run.as_of == "2020-02-16T00:00:00+00:00"


def test_a_folder_without_its_note_is_not_there_yet(landing, tmp_path):
    (landing / MONTHS[1] / "delivery.json").unlink()
    (landing / "2020-02-30").mkdir()  # no date
    (landing / "notes").mkdir()
    assert seen(open_(landing, tmp_path)) == [MONTHS[0], MONTHS[2]]


def test_an_empty_landing_has_nothing_new_and_is_not_taken_for_a_release_that_lacks_a_file(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(NothingNewError, match="there are no complete deliveries"):
        open_(empty, tmp_path, as_of=moment("2020-05-01"), since=moment("2020-04-01"))
    with pytest.raises(DataError, match="has no delivery dated before"):
        open_(empty, tmp_path)
    (empty / "readme.txt").touch()
    with pytest.raises(DataError, match=r"The release at .* has no"):
        open_(empty, tmp_path)


def test_an_interval_without_a_delivery_has_nothing_new_unless_asked_to_retrain(landing, tmp_path):
    interval = {"as_of": moment("2020-05-01"), "since": moment("2020-04-01")}
    with pytest.raises(NothingNewError, match=r"dated from 2020-04-01 00:00 to before 2020-05-01"):
        open_(landing, tmp_path, **interval)
    assert not (tmp_path / "storage").exists(), "nothing is left of a run that has nothing to do"
    assert seen(open_(landing, tmp_path, **interval, retrain_without_news=True)) == list(MONTHS)
    assert seen(open_(landing, tmp_path, as_of=moment("2020-04-01"), since=moment("2020-03-01"))) == list(MONTHS)


def test_a_time_before_the_first_delivery_is_refused(landing, tmp_path):
    with pytest.raises(DataError, match=r"no delivery dated before 2019-01-01 00:00 UTC"):
        open_(landing, tmp_path, as_of=moment("2019-01-01"))


def test_a_plain_release_counts_as_one_delivery_and_is_always_seen(sample_release, tmp_path):
    run = open_(sample_release, tmp_path, as_of=moment("2000-02-01"), since=moment("2000-01-01"))
    assert seen(run) == ["release"]
    assert run.deliveries[0].date is None


@pytest.mark.parametrize(
    ("note", "message"),
    [
        ("{", "is not a valid note"),
        ('{"date": "2020-01-16"}', "names the date 2020-01-16"),
        ('{"photographs": 9999}', r"holds \d+ photographs, but its delivery.json states 9999"),
    ],
)
def test_a_wrong_note_is_refused(landing, tmp_path, note, message):
    (landing / MONTHS[0] / "delivery.json").write_text(note)
    with pytest.raises(DataError, match=message):
        open_(landing, tmp_path)


def test_sealing_counts_what_is_there(landing):
    folder = landing / MONTHS[0]
    note = note_module.read_note(storage.normalize(landing), MONTHS[0])
    assert note.photographs == len(list(folder.glob("*/*.jpg")))
    for path, rows in note.rows.items():
        with (folder / path).open(newline="") as file:
            assert rows == sum(1 for _ in csv.reader(file)) - 1
    with pytest.raises(DataError, match="its name is not a date"):
        note_module.seal(str(landing))


@pytest.mark.parametrize("form", ["parquet", "tar"])
def test_a_delivery_may_hold_its_photographs_packed(landing, tmp_path, form):
    folder = landing / MONTHS[0]
    before, stated = open_(landing, tmp_path), note_module.read_note(storage.normalize(landing), MONTHS[0])
    pack(str(folder), str(tmp_path / "packed"), form)
    for subset in SUBSETS:
        shutil.rmtree(folder / subset)
    for shard in (tmp_path / "packed").iterdir():
        shutil.move(shard, folder)
    assert note_module.seal(str(folder)).photographs == stated.photographs
    after = open_(landing, tmp_path)
    assert after.deliveries[0].listing == before.deliveries[0].listing, "the same photographs by name"
    assert after.deliveries[0].photographs != before.deliveries[0].photographs
    next(folder.glob(f"train-*.{form}")).unlink()
    with pytest.raises(DataError, match=r"holds \d+ photographs, but its delivery.json states"):
        open_(landing, tmp_path / "other")


def test_a_delivery_that_lacks_rows_which_its_note_states_is_not_announced(landing, tmp_path):
    uri, table = storage.normalize(landing), landing / MONTHS[0] / "v5" / "test-annotations-bbox.csv"
    kept = delivery_cache(str(tmp_path / "storage"))
    assert landing_module.announcement(uri, MONTHS[0], None, kept)["counts"]["photographs"] > 0
    elsewhere = landing_module.announcement(uri, MONTHS[0], str(landing / MONTHS[1]), kept)
    assert elsewhere["counts"]["photographs"] is None, "they are no part of the delivery"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(DataError, match=r"states [\d,]+ rows of v5/test-annotations-bbox.csv .* but holds"):
        landing_module.announcement(uri, MONTHS[0], None, delivery_cache(str(tmp_path / "other")))


def test_news_are_the_deliveries_that_were_not_announced_as_they_are(landing):
    uri = storage.normalize(landing)
    kept = delivery_cache(str(landing.parent / "storage"))
    events = [landing_module.announcement(uri, name, None, kept) for name in MONTHS[:2]]
    announced = {(event["date"], event["digest"]) for event in events}
    assert landing_module.news(uri, announced, NOW) == [MONTHS[2]]
    assert landing_module.news(uri, announced, moment(MONTHS[2])) == [], "no run would see it yet"
    (landing / MONTHS[2] / "delivery.json").unlink()
    assert landing_module.news(uri, announced, NOW) == []
    (landing / MONTHS[0] / "delivery.json").write_text('{"comment": "sealed again"}')
    assert landing_module.news(uri, announced, NOW) == [MONTHS[0]]
    with pytest.raises(DataError, match="no landing"):
        landing_module.news(uri + "-absent", announced, NOW)


# --- stages done by delivery


def body(calls):
    def work(context):
        calls.append(context.delivery.name if context.delivery else "all")
        storage.write_bytes(context.path("table", "part.txt"), context.uri.encode())
        return Result(Stated(**{"rows": {"boxes": 2}, "subsets": ["train"], "name": "same"}), {"kept": 3})

    return work


def test_each_delivery_is_done_once_in_any_order_of_runs(landing, tmp_path):
    calls = []
    first, last = (open_(landing, tmp_path, str(month), moment(f"2020-0{month}-01")) for month in (3, 4))
    whole = run_stage(last, EXTRACT, body(calls))
    assert calls == list(MONTHS)
    earlier = run_stage(first, EXTRACT, body(calls))
    assert calls == list(MONTHS)
    assert earlier.parts == {name: whole.parts[name] for name in MONTHS[:2]}
    assert (whole.metrics["rows"], whole.ledger) == ({"boxes": 6}, {"kept": 9})
    assert (whole.metrics["subsets"], whole.metrics["name"]) == (["train"], "same")
    assert len(whole.table("table")) == 3
    assert first.find_or_adopt(EXTRACT) == earlier
    assert first.key(EXPLORE) != last.key(EXPLORE)


def test_a_failure_keeps_the_deliveries_that_were_done(landing, tmp_path):
    calls = []

    def broken(context):
        if context.delivery.name == MONTHS[2]:
            raise DataError("bad rows", "correct them")
        return body(calls)(context)

    run = open_(landing, tmp_path)
    with pytest.raises(DataError, match="bad rows"):
        run_stage(run, EXTRACT, broken, attempt="one")
    assert storage.exists(storage.join(run.key_uri(EXTRACT), "attempts", "one", "error.json"))
    assert run.find_or_adopt(EXTRACT) is None
    run_stage(run, EXTRACT, body(calls))
    assert calls == list(MONTHS)


def test_force_redoes_all_deliveries_once(landing, tmp_path):
    calls = []
    before = run_stage(open_(landing, tmp_path, "a"), EXTRACT, body(calls))
    forced = open_(landing, tmp_path, "b", force="extract")
    again = run_stage(forced, EXTRACT, body(calls))
    assert run_stage(forced, EXTRACT, body(calls)) == again
    assert calls == [*MONTHS, *MONTHS]
    assert not set(again.parts.values()) & set(before.parts.values())
    assert open_(landing, tmp_path, "a").find_or_adopt(EXTRACT).parts == again.parts


def test_a_part_that_lost_a_file_is_done_again(landing, tmp_path):
    calls = []
    run = open_(landing, tmp_path)
    manifest = run_stage(run, EXTRACT, body(calls))
    storage.remove(manifest.table("table")[1])
    assert run.find_or_adopt(EXTRACT) is None
    run_stage(run, EXTRACT, body(calls))
    assert calls == [*MONTHS, MONTHS[1]]


def test_a_photograph_is_that_of_the_newest_delivery_that_holds_it(landing, tmp_path):
    photo = next((landing / MONTHS[0] / "train").glob("*.jpg"))
    (landing / MONTHS[1] / "train" / photo.name).write_bytes(b"newer")
    (landing / MONTHS[1] / "delivery.json").write_text("{}")
    assert open_(landing, tmp_path).view.read_photograph("train", photo.stem) == b"newer"
    earlier = open_(landing, tmp_path, as_of=moment("2020-02-01"))
    assert earlier.view.read_photograph("train", photo.stem) == photo.read_bytes()
    with pytest.raises(FileNotFoundError, match="in no delivery"):
        earlier.view.read_photograph("train", "0000000000000000")
