"""Photographs from a host with every kind of fault: what exists arrives, whole and once."""

import pytest

from ml.download.faults import Reason
from ml.download.progress import LogProgress
from ml.download.transfer import Wanted, fetch_photographs
from support.file_server import cut, hang, html, redirect, short, slow, status


@pytest.fixture
def photographs(sample_release):
    """Twenty whole photographs of the train subset."""
    found = [Wanted("train", file.stem) for file in sorted((sample_release / "train").glob("*.jpg"))]
    return [each for each in found if each.image_id != CUT_SHORT][:20]


CUT_SHORT = "0087464944c16701"  # in the drawn release, as published


@pytest.fixture
def transfer(server, target, tmp_path):
    """Fetch photographs into a folder and return what became of them."""

    def transfer_(wanted, allowed=1000, **values):
        config = target(**values).config
        return fetch_photographs(wanted, str(tmp_path / "out"), config, LogProgress("", 1), allowed)

    return transfer_


def path_of(photograph):
    return f"bucket/{photograph.subset}/{photograph.image_id}.jpg"


def check_arrived(server, tmp_path, wanted):
    """These photographs and no others arrived whole, and no photograph was sent whole more than once."""
    arrived = {path.relative_to(tmp_path / "out"): path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
    served = {path_of(each): (server.root / path_of(each)).read_bytes() for each in wanted}
    assert {f"bucket/{path}": data for path, data in arrived.items()} == served
    assert sorted(server.whole("bucket/")) == sorted(served)


def test_passing_faults_of_every_kind_end_with_every_photograph_whole_and_sent_once(
    server, transfer, photographs, tmp_path
):
    faults = {
        0: [status(500)],
        1: [status(503)],
        2: [status(429, Retry_After="0")],
        3: [hang],
        4: [cut],
        5: [slow],
        6: [short],
        7: [html],
        8: [status(502), cut, status(500)],
        9: [hang, cut],
        10: [cut, cut, cut, cut],
    }
    for number, each in faults.items():
        server.spoil(path_of(photographs[number]), *each)
    outcome = transfer(photographs, timeout_seconds=0.4)
    assert outcome.failures == []
    assert (outcome.fetched, outcome.retries) == (20, 17)
    check_arrived(server, tmp_path, photographs)


def test_what_the_host_never_gives_is_told_by_reason_and_all_else_arrives(server, transfer, photographs, tmp_path):
    faults = {
        Reason.ABSENT: status(404),
        Reason.REFUSED: status(403),
        Reason.THROTTLED: status(429),
        Reason.SERVER: status(500),
        Reason.TIMEOUT: hang,
        Reason.CONNECTION: cut,
        Reason.UNREADABLE: html,
    }
    for photograph, fault in zip(photographs, faults.values(), strict=False):
        server.spoil(path_of(photograph), fault, forever=True)
    outcome = transfer(photographs, timeout_seconds=0.3, retries=1)
    told = {failure.image_id: failure.reason for failure in outcome.failures}
    assert told == {each.image_id: reason for each, reason in zip(photographs, faults, strict=False)}
    assert outcome.reasons == dict.fromkeys(told.values(), 1)
    lasting = {failure.reason for failure in outcome.failures if failure.lasting}
    assert lasting == {Reason.ABSENT, Reason.REFUSED, Reason.UNREADABLE}
    check_arrived(server, tmp_path, photographs[len(faults) :])
    asked = [sent.path for sent in server.log]
    assert asked.count(path_of(photographs[0])) == asked.count(path_of(photographs[1])) == 1


@pytest.mark.parametrize("fault", [slow, short], ids=["slow bytes", "wrong length"])
def test_half_a_photograph_is_none(server, transfer, photographs, tmp_path, fault):
    server.spoil(path_of(photographs[0]), fault, forever=True)
    outcome = transfer(photographs[:3], timeout_seconds=0.2, retries=1)
    assert [failure.image_id for failure in outcome.failures] == [photographs[0].image_id]
    check_arrived(server, tmp_path, photographs[1:3])


def test_a_redirect_is_followed(server, transfer, photographs, tmp_path):
    first, second = photographs[:2]
    server.spoil(path_of(first), redirect(f"/{path_of(second)}"), forever=True)
    assert transfer([first]).fetched == 1
    arrived = tmp_path / "out" / "train" / f"{first.image_id}.jpg"
    assert arrived.read_bytes() == (server.root / path_of(second)).read_bytes()


def test_a_redirect_to_itself_is_a_refusal(server, transfer, photographs):
    path = path_of(photographs[0])
    server.spoil(path, redirect(f"/{path}"), forever=True)
    (failure,) = transfer([photographs[0]]).failures
    assert failure.reason is Reason.REFUSED
    assert failure.detail.endswith(": TooManyRedirects")


def test_no_more_connections_than_allowed(server, transfer, photographs):
    server.delay = 0.02
    transfer(photographs, connections=3)
    assert server.most_at_once == 3


def test_a_host_that_asks_for_too_long_a_pause_is_left_alone(server, transfer, photographs):
    for photograph in photographs:
        server.spoil(path_of(photograph), status(429, Retry_After="3600"), forever=True)
    outcome = transfer(photographs, connections=1)
    assert outcome.reasons == {Reason.THROTTLED: 20}
    assert len(server.log) == 1


def test_the_transfer_stops_when_more_are_missing_than_allowed(server, transfer, photographs):
    for photograph in photographs:
        server.spoil(path_of(photograph), status(403), forever=True)
    outcome = transfer(photographs, allowed=2, connections=1)
    assert outcome.stopped
    assert 3 <= len(outcome.failures) < 20


def test_a_photograph_that_the_bucket_lacks_comes_from_its_original_address(server, transfer, photographs):
    lost, moved, gone = photographs[:3]
    for each in (lost, moved, gone):
        (server.root / path_of(each)).unlink()
    (server.root / "originals" / f"{gone.image_id}_o.jpg").unlink()
    originals = [
        Wanted("train", each.image_id, f"{server.url}/originals/{each.image_id}_o.jpg") for each in photographs
    ]
    outcome = transfer(originals[:3])
    assert (outcome.fetched, outcome.originals) == (2, 2)
    (failure,) = outcome.failures
    assert (failure.image_id, failure.reason) == (gone.image_id, Reason.ABSENT)
    assert failure.detail == f"{server.url}/bucket: HTTP 404 Not Found; the original address: HTTP 404 Not Found"


def test_another_photograph_at_the_original_address_is_not_taken(server, transfer, photographs):
    """Flickr, for one, answers with a picture that says that the photograph is gone."""
    lost, other = photographs[:2]
    (server.root / path_of(lost)).unlink()
    url, stated = f"{server.url}/originals/{other.image_id}_o.jpg", "1B2M2Y8AsgTpgAmY7PhCfg=="
    (failure,) = transfer([Wanted("train", lost.image_id, url, stated)]).failures
    assert failure.reason is Reason.CHANGED
    assert transfer([Wanted("train", lost.image_id, url, "")]).originals == 1


def test_a_bucket_in_trouble_is_not_left_for_the_original_addresses(server, transfer, photographs):
    first = photographs[0]
    server.spoil(path_of(first), status(500), forever=True)
    url = f"{server.url}/originals/{first.image_id}_o.jpg"
    assert transfer([Wanted("train", first.image_id, url)], retries=1).reasons == {Reason.SERVER: 1}
    assert server.whole("originals/") == []


def test_original_addresses_are_asked_only_if_wanted(server, transfer, photographs):
    first = photographs[0]
    (server.root / path_of(first)).unlink()
    url = f"{server.url}/originals/{first.image_id}_o.jpg"
    assert transfer([Wanted("train", first.image_id, url)], originals=False).reasons == {Reason.ABSENT: 1}
