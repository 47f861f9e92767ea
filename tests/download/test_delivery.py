"""A downloaded delivery: what it holds, how it grows the landing, and how an interrupted one is completed."""

import csv
import datetime
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from ml.config.deployment import Deployment
from ml.download.annotations import official_path
from ml.download.delivery import download, open_target
from ml.errors import ConfigurationError, DataError, NothingNewError, TransientError
from ml.release.landing import arrived, find_deliveries
from ml.release.release import find_release
from support.file_server import html, sources, status

TOMORROW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
DATE = "2026-01-31"


@pytest.fixture
def landing(tmp_path):
    return tmp_path / "landing"


def rows(file):
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def photographs(delivery):
    return {path.stem: path for path in delivery.glob("*/*.jpg")}


def listed(delivery):
    """The images of a delivery's image lists."""
    return {row["ImageID"]: row for file in delivery.glob("2018_04/*/*-with-rotation.csv") for row in rows(file)}


def test_a_delivery_holds_the_photographs_and_exactly_their_rows(server, fetch, landing):
    record = fetch()
    delivery = landing / DATE
    assert record.delivery == f"file://{delivery}"
    assert record.images == record.fetched == len(photographs(delivery)) > 15
    release = find_release(str(delivery))
    images = set(photographs(delivery))
    assert set(listed(delivery)) == images
    for table, by_subset in release.tables.items():
        for subset, uri in by_subset.items():
            path = uri.removeprefix(f"{release.uri}/")
            published = (server.root / "openimages" / path).read_text(encoding="utf-8").splitlines()
            expected = [published[0], *(line for line in published[1:] if line.split(",")[0] in images)]
            assert (delivery / path).read_text(encoding="utf-8").splitlines() == expected, (table, subset)
    for image, file in photographs(delivery).items():
        assert file.read_bytes() == (server.root / "bucket" / file.parent.name / f"{image}.jpg").read_bytes()


def test_runs_see_the_delivery_once_it_is_sealed(fetch, landing):
    record = fetch()
    (found,) = find_deliveries(str(landing), None, TOMORROW).values()
    assert found.uri == record.delivery
    note = json.loads((landing / DATE / "delivery.json").read_text())
    assert (note["date"], note["photographs"]) == (DATE, record.images)


def test_authors_pages_and_licences_are_listed_for_each_photograph(fetch, landing):
    fetch()
    credits = {row["ImageID"]: row for row in rows(landing / DATE / "attribution.csv")}
    published = listed(landing / DATE)
    assert set(credits) == set(photographs(landing / DATE))
    for image, credit in credits.items():
        assert credit == {name: published[image][name] for name in credit}
    assert {"Author", "OriginalLandingURL", "License"} <= set(next(iter(credits.values())))


def test_a_complete_delivery_is_left_as_it_is(server, fetch, landing):
    first = fetch()
    before = {path: path.stat().st_mtime_ns for path in landing.rglob("*")}
    server.log.clear()
    again = fetch(images=7)
    assert (again.found_done, again.images) == (True, first.images)
    assert server.log == []
    assert {path: path.stat().st_mtime_ns for path in landing.rglob("*")} == before


def test_each_delivery_brings_other_images_and_a_new_landing_the_same_ones(fetch, landing, tmp_path):
    fetch(images=10)
    fetch("2026-02-28", images=10)
    january, february = (set(photographs(landing / day)) for day in (DATE, "2026-02-28"))
    assert january
    assert february
    assert not january & february
    fetch("2020-12-31", images=10, landing=str(tmp_path / "other"))
    assert set(photographs(tmp_path / "other" / "2020-12-31")) == january


def test_images_found_nowhere_are_not_picked_again(server, fetch, landing):
    for file in (server.root / "bucket").glob("*/*.jpg"):
        server.spoil(f"bucket/{file.parent.name}/{file.name}", status(404))
    fetch(images=10, originals=False, max_missing_share=1.0)
    gone = {row["ImageID"]: row for row in rows(landing / DATE / "failures.csv")}
    assert len(gone) == 10
    assert {(row["Reason"], row["Lasting"]) for row in gone.values()} == {("not found", "1")}
    assert arrived(str(landing)) == [DATE]
    server.faults.clear()
    fetch("2026-02-28", images=10)
    assert not set(photographs(landing / "2026-02-28")) & set(gone)


def test_too_many_missing_photographs_fail_the_download_and_the_next_call_fetches_only_those(server, fetch, landing):
    trial = landing.with_name("trial")
    fetch(images=10, landing=str(trial))  # which picks the same
    names = sorted(path.relative_to(trial / DATE) for path in photographs(trial / DATE).values())
    for name in names[:4]:
        server.spoil(f"bucket/{name}", status(500), forever=True)
    server.log.clear()
    with pytest.raises(TransientError) as error:
        fetch(images=10, retries=1, max_missing_share=0.3, originals=False)
    assert str(error.value).startswith("4 of 10 photographs cannot be fetched (4 server error), more than")
    assert arrived(str(landing)) == []
    told = rows(landing / DATE / "failures.csv")
    assert [(row["Reason"], row["Lasting"]) for row in told] == [("server error", "0")] * 4
    server.faults.clear()
    record = fetch(images=10, retries=1, max_missing_share=0.3, originals=False)
    assert (record.fetched, record.images, record.failures) == (4, 10, {})
    assert rows(landing / DATE / "failures.csv") == []
    assert sorted(server.whole("bucket/")) == [f"bucket/{name}" for name in names]


def test_photographs_that_exist_nowhere_are_no_reason_to_try_again(server, fetch):
    for file in (server.root / "bucket").glob("*/*.jpg"):
        server.spoil(f"bucket/{file.parent.name}/{file.name}", html, forever=True)
    with pytest.raises(DataError, match=r"not a whole image\), more than max_missing_share = 0.2; the rest was not"):
        fetch(originals=False, connections=1)


def test_other_parameters_pick_again_and_leave_no_photograph_of_the_old_pick(server, fetch, landing):
    for file in sorted((server.root / "bucket" / "train").glob("*.jpg")):
        server.spoil(f"bucket/train/{file.name}", status(500), forever=True)
    with pytest.raises(TransientError):
        fetch(retries=0, originals=False)
    left = photographs(landing / DATE)
    server.faults.clear()
    fetch(subsets={"train": 1.0}, images=5)
    assert left
    assert set(photographs(landing / DATE)) == set(listed(landing / DATE))
    assert {path.parent.name for path in photographs(landing / DATE).values()} == {"train"}


def test_a_damaged_photograph_that_lies_there_is_fetched_again(server, fetch, landing):
    names = [f"bucket/{file.parent.name}/{file.name}" for file in (server.root / "bucket").glob("*/*.jpg")]
    for name in names[: len(names) // 2]:
        server.spoil(name, status(500), forever=True)
    with pytest.raises(TransientError):
        fetch(retries=0, originals=False, connections=1)
    server.faults.clear()
    spoiled = next(iter(photographs(landing / DATE).values()))
    whole = spoiled.read_bytes()
    spoiled.write_bytes(whole[:1000])
    spoiled.with_name(f".{spoiled.name}.0123.tmp").write_bytes(whole[:500])
    fetch()
    assert spoiled.read_bytes() == whole
    assert not list(landing.rglob("*.tmp"))


def test_subsets_without_images_have_files_without_rows(fetch, landing):
    fetch(subsets={"train": 1.0}, images=5)
    for table in ("labels", "boxes", "images", "miap"):
        assert rows(landing / DATE / official_path(table, "train"))
        assert rows(landing / DATE / official_path(table, "test")) == []
    assert find_deliveries(str(landing), None, TOMORROW)


def test_a_table_that_the_host_lacks_is_not_in_the_delivery(server, fetch, landing):
    (server.root / "openimages" / official_path("miap", "train")).unlink()
    fetch()
    assert not (landing / DATE / official_path("miap", "train")).exists()
    assert rows(landing / DATE / official_path("miap", "test"))


def test_an_interrupted_delivery_in_an_object_store_is_continued(server, fetch):
    names = [f"bucket/{file.parent.name}/{file.name}" for file in sorted((server.root / "bucket").glob("*/*.jpg"))]
    for name in names[::2]:
        server.spoil(name, status(500), forever=True)
    given = {"landing": "memory://interrupted/landing", "originals": False, "retries": 0}
    with pytest.raises(TransientError):
        fetch(max_missing_share=0.0, connections=1, **given)
    server.faults.clear()
    fetch(**given)
    assert len(server.whole("bucket/")) == len(set(server.whole("bucket/")))
    assert arrived("memory://interrupted/landing") == [DATE]


def test_when_every_image_is_held_there_is_nothing_new(fetch):
    fetch(images=1000, balance={}, max_missing_share=1.0)
    with pytest.raises(NothingNewError, match="is left to pick"):
        fetch("2026-02-28", balance={})


def test_a_release_is_not_taken_for_a_landing(sample_release, target):
    with pytest.raises(ConfigurationError, match="is not a landing"):
        target(landing=str(sample_release))


def test_a_folder_that_no_download_began_is_left_alone(target, landing):
    (landing / DATE / "train").mkdir(parents=True)
    (landing / DATE / "train" / "by-hand.jpg").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="no download has begun it"):
        target()


def test_annotation_files_are_kept_on_this_machine_only(tmp_path):
    with pytest.raises(ConfigurationError, match="Set the parameter `cache` to a local folder"):
        open_target("memory://storage", {"landing": str(tmp_path)}, Deployment())
    open_target("memory://storage", {"landing": str(tmp_path), "cache": str(tmp_path)}, Deployment())


def test_a_landing_in_an_object_store_is_filled_too(target):
    opened = target(landing="memory://bucket/landing", images=10)
    record = download(opened)
    release = find_release(record.delivery)
    assert len(list(release.photographs.list())) == record.images == record.fetched
    assert arrived("memory://bucket/landing") == [DATE]


def test_killed_in_mid_download_and_run_again_only_the_rest_is_fetched(server, landing, tmp_path):
    """A process of its own, ended by SIGKILL while photographs arrive."""
    server.delay = 0.05
    options = {"storage": tmp_path / "storage", "landing": landing, "date": DATE, "images": 40, "connections": 2}
    options |= {"max_missing_share": 0.2, **sources(server)}
    arguments = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    command = [sys.executable, "-m", "ml", "download", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while len(photographs(landing / DATE)) < 10:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert arrived(str(landing)) == []
    there = set(photographs(landing / DATE))
    assert 10 <= len(there) < 30
    server.log.clear()
    server.delay = 0.0
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "photographs" in done.stdout
    whole = set(photographs(landing / DATE))
    assert set(listed(landing / DATE)) == whole > there
    assert not list(landing.rglob("*.tmp"))
    sent = [path.rpartition("/")[2].removesuffix(".jpg") for path in server.whole("bucket/")]
    assert not there & set(sent)
    assert len([image for image in sent if image in whole]) == len(whole - there)
    assert not [path for path in server.whole() if path.startswith("openimages/")]
