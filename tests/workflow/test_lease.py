"""One job does a key's work while the others wait; a job that is gone is overtaken, one that is only late is not."""

from __future__ import annotations

import datetime
import logging
import multiprocessing
import os
import signal
import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml import storage
from ml.errors import DataError
from ml.flow.table import STAGES
from ml.workflow import layout, lease
from ml.workflow.execution import Result, run_stage, wait_for_others
from ml.workflow.lease import EXPIRY_SECONDS, POLL_SECONDS, RENEWAL_SECONDS, HeldLease, Holder, Lease, Watch, newest
from ml.workflow.run import load_run
from ml.workflow.supervision import identity
from support.records import Stated

EXTRACT = STAGES["extract"]
ELSEWHERE = "another-host|17|4711.25"


class Clock:
    """A monotonic clock that only sleeping moves; something may happen whenever somebody sleeps."""

    def __init__(self):
        self.now, self.happen = 1000.0, lambda: None

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.happen()


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(lease, "time", clock)
    return clock


@pytest.fixture
def key(tmp_path):
    """The folder of a key."""
    return storage.normalize(tmp_path / "stages" / "extract" / "0a")


def nothing():
    """Find nothing done."""


def held_by(key, job, number=1, since="2026-01-01T00:00:00", renewals=0):
    """Write the lease of another job."""
    holder = Holder(run="other-run", job=job, since=since, renewals=renewals)
    storage.write_bytes(layout.lease_uri(key, number), holder.content, durable=False)
    return holder


def ended_process():
    """The identity of a process of this host that has ended."""
    host, pid, started = identity().split("|")
    return f"{host}|{pid}|{float(started) - 100}"


def leases(key):
    return sorted(name for name in storage.list_folder(key) if layout.lease_number(name))


# --- taking and giving back


def test_a_free_key_is_held_inside_the_block_and_free_after_it(key):
    with lease.hold(key, "run", nothing) as found:
        assert found is None
        assert newest(key).holder.run == "run"
        assert newest(key).holder.job == identity()
    assert newest(key) is None
    with pytest.raises(DataError), lease.hold(key, "run", nothing):
        raise DataError("bad rows")
    assert leases(key) == []


def test_a_result_that_is_there_needs_no_lease(key):
    with lease.hold(key, "run", lambda: "done") as found:
        assert found == "done"
        assert newest(key) is None


def test_a_result_committed_between_the_last_look_and_the_lease_is_found(key):
    answers = iter([None, "done"])
    with lease.hold(key, "run", lambda: next(answers)) as found:
        assert found == "done"


def test_of_several_that_create_a_file_one_succeeds(tmp_path):
    uri = storage.normalize(tmp_path / "folder" / "file")
    assert storage.create_bytes(uri, b"first")
    assert not storage.create_bytes(uri, b"second")
    assert storage.read_bytes(uri) == b"first"
    memory = f"memory://{tmp_path.name}/file"
    assert storage.create_bytes(memory, b"first")
    assert not storage.create_bytes(memory, b"second")
    with pytest.raises(FileExistsError):  # of the folder: not a refusal: waiting would not help
        storage.create_bytes(f"{uri}/below", b"")


# --- waiting


@pytest.mark.parametrize("since", ["2026-01-01T00:00:00", "2099-12-31T23:00:00"])
def test_others_wait_as_long_as_the_holder_renews_whatever_its_clock_says(key, clock, caplog, since):
    done, asked = [], []
    held_by(key, ELSEWHERE, since=since)

    def happen():
        beats = int(clock.now // RENEWAL_SECONDS)
        if clock.now < 2000:
            held_by(key, ELSEWHERE, since=since, renewals=beats)
            os.utime(storage.local_path(layout.lease_uri(key, 1)), (beats, beats))  # as a clock of 1970 would
        elif not done:
            done.append("done")
            storage.remove(layout.lease_uri(key, 1))

    def find():
        asked.append(clock.now)
        return done[0] if done else None

    clock.happen = happen
    with caplog.at_level(logging.INFO), lease.hold(key, "run", find) as found:
        assert found == "done"
    assert 2000 <= clock.now <= 2000 + 2 * POLL_SECONDS
    assert asked == [clock.now], "a store is not asked for results while the holder works"
    told = [line for line in caplog.messages if line.startswith("waiting for run other-run")]
    assert f"(process 17 on another-host, since {since} by that host's clock)" in told[0]
    assert len(told) == 4, "a line every five minutes"


def test_a_holder_on_another_host_that_stops_renewing_is_overtaken(key, clock):
    held_by(key, ELSEWHERE, number=3, since="2099-12-31T23:00:00")
    with lease.hold(key, "run", nothing) as found:
        assert found is None
        assert EXPIRY_SECONDS <= clock.now - 1000 <= EXPIRY_SECONDS + 2 * POLL_SECONDS
        assert leases(key) == ["lease-4.json"]
    assert leases(key) == []


def test_a_holder_on_this_host_that_has_ended_is_overtaken_at_once(key, clock):
    held_by(key, ended_process())
    with lease.hold(key, "run", nothing) as found:
        assert (found, clock.now) == (None, 1000)
    held_by(key, identity(), renewals=1)  # alive, but it renews nothing: it hangs
    with lease.hold(key, "run", nothing):
        assert clock.now >= 1000 + EXPIRY_SECONDS


def test_a_damaged_lease_is_overtaken_after_a_while(key, clock):
    storage.write_bytes(layout.lease_uri(key, 1), b"")
    with lease.hold(key, "run", nothing):
        assert clock.now >= 1000 + EXPIRY_SECONDS


@given(
    pauses=st.lists(st.tuples(*[st.floats(0, 500)] * 3), min_size=1, max_size=30),
    renewal=st.floats(0.1, EXPIRY_SECONDS * 0.99),
)
def test_a_holder_that_renews_is_never_taken_for_gone_however_the_waiting_job_is_paused(pauses, renewal):
    clock, watch = Clock(), Watch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lease, "time", clock)
        for before, reading, after in pauses:  # asking, reading and judging may each be delayed
            clock.now += before
            asked = clock.monotonic()
            clock.now += reading
            holder = Holder(run="r", job=ELSEWHERE, since="", renewals=int(clock.now // renewal))
            clock.now += after
            assert not watch.gone(Lease(1, holder), asked)


@given(steps=st.lists(st.floats(0.01, 50), min_size=1, max_size=100))
def test_a_holder_that_no_longer_renews_is_gone_after_the_expiry_and_not_before(steps):
    clock, watch, seen = Clock(), Watch(), Lease(1, Holder(run="r", job=ELSEWHERE, since=""))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lease, "time", clock)
        for step in [0.0, *steps]:
            clock.now += step
            waited = clock.now - 1000
            assert watch.gone(seen, clock.now) == (waited >= EXPIRY_SECONDS)


# --- holding


def held(key, number=1):
    found = HeldLease(key, number, Holder.of("run"))
    assert found.take()
    return found


def test_a_renewal_changes_the_lease_and_nothing_else(key):
    mine = held(key)
    before = newest(key)
    assert mine.renew()
    assert newest(key) != before
    assert leases(key) == ["lease-1.json"]
    mine.release()
    assert leases(key) == []


def test_a_holder_that_was_overtaken_leaves_the_other_jobs_lease_alone(key):
    mine = held(key)
    held_by(key, ELSEWHERE, number=2)
    assert not mine.renew()
    mine.release()
    assert newest(key) == Lease(2, held_by(key, ELSEWHERE, number=2))
    for number in (1, 2):
        storage.remove(layout.lease_uri(key, number))
    mine = held(key)
    held_by(key, ELSEWHERE)  # the job that overtook has finished, and a third one has begun
    assert not mine.renew()
    mine.release()
    assert newest(key).holder.job == ELSEWHERE


def test_a_renewal_that_failed_half_way_is_done_again(key):
    mine = held(key)
    storage.write_bytes(layout.lease_uri(key, 1), b"")
    assert mine.renew()
    assert newest(key).holder == mine.holder
    mine.release()


def test_a_refusal_because_of_its_own_lease_is_not_taken_for_another_job(key, monkeypatch):
    def answer_lost(uri, data):
        storage.write_bytes(uri, data)
        return False

    monkeypatch.setattr(storage, "create_bytes", answer_lost)
    held(key).release()
    held_by(key, ELSEWHERE)
    monkeypatch.setattr(storage, "create_bytes", lambda uri, data: False)
    assert not HeldLease(key, 1, Holder.of("run")).take()


def test_a_store_that_refuses_leases_costs_no_work(key, monkeypatch, caplog):
    def full(uri, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "create_bytes", full)
    with lease.hold(key, "run", nothing) as found:
        assert found is None
    assert "working without a lease" in caplog.text


# --- jobs of real processes

CONTEXT = multiprocessing.get_context("fork")


@pytest.fixture
def quick(monkeypatch):
    """Wait for short times; processes that are forked do too."""
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(lease, "RENEWAL_SECONDS", 0.1)
    monkeypatch.setattr(lease, "EXPIRY_SECONDS", 1.0)


@pytest.fixture
def start():
    """Start a job of a run in a process of its own, whose body calls a function first."""
    processes = []

    def start_(run, before=lambda: None):
        process = CONTEXT.Process(target=_job, args=(run.uri, before))
        process.start()
        processes.append(process)
        return process

    yield start_
    for process in processes:
        process.kill()
        process.join()


def _job(run_uri, before):
    def body(context):
        storage.write_bytes(context.path("table", "part.txt"), context.uri.encode())
        before()
        return Result(Stated(attempt=context.uri))

    run_stage(load_run(run_uri), EXTRACT, body)


def ended(process):
    process.join(30)
    return process.exitcode


def attempts(run):
    """The attempts at the part for the run's one delivery."""
    key = layout.key_uri(run.root, "extract", run.part_key(EXTRACT, run.deliveries[0]))
    return sorted(path.name for path in storage.local_path(layout.attempts_uri(key)).iterdir())


def leases_below(run):
    return [path for path in storage.survey(run.root) if "lease-" in path]


def test_six_jobs_at_once_do_the_work_once_and_end_with_the_same_attempt(opened, start, quick):
    runs = [opened(f"run {number}") for number in range(6)]
    jobs = [start(run, before=lambda: time.sleep(0.3)) for run in runs]
    assert [ended(job) for job in jobs] == [0] * 6
    assert len(attempts(runs[0])) == 1
    assert len({run.pinned("extract").uri for run in runs}) == 1
    assert leases_below(runs[0]) == []


def test_a_job_that_was_killed_is_overtaken_by_one_of_those_that_wait(opened, start, quick):
    working = CONTEXT.Event()

    def hang():
        working.set()
        time.sleep(60)

    killed = start(opened("killed"), before=hang)
    assert working.wait(20)
    runs = [opened(f"run {number}") for number in range(3)]
    jobs = [start(run, before=lambda: time.sleep(0.2)) for run in runs]
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    assert [ended(job) for job in jobs] == [0] * 3
    assert len(attempts(runs[0])) == 2
    assert len({run.pinned("extract").uri for run in runs}) == 1
    assert leases_below(runs[0]) == []


def test_a_paused_job_is_overtaken_and_spoils_nothing_when_it_goes_on(opened, start, quick):
    working = CONTEXT.Event()

    def work():
        working.set()
        time.sleep(0.3)

    paused_run, run = opened("paused"), opened("run")
    paused = start(paused_run, before=work)
    assert working.wait(20)
    os.kill(paused.pid, signal.SIGSTOP)
    assert ended(start(run)) == 0
    os.kill(paused.pid, signal.SIGCONT)
    assert ended(paused) == 0
    assert len(attempts(run)) == 2
    for each in (run, paused_run):
        (part,) = each.pinned("extract").of_deliveries()
        assert part.whole()
        assert storage.read_bytes(part.file("table/part.txt")).decode() == part.uri
    assert opened("next").find_or_adopt(EXTRACT).uri == paused_run.pinned("extract").uri, "the last to commit"
    assert leases_below(run) == []


def test_a_job_that_fails_leaves_the_work_to_one_of_those_that_wait(opened, start, quick):
    working = CONTEXT.Event()

    def fail():
        working.set()
        time.sleep(0.2)
        raise DataError("bad rows")

    failing = start(opened("failing"), before=fail)
    assert working.wait(20)
    run = opened("run")
    assert ended(start(run)) == 0
    assert ended(failing) != 0
    assert len(attempts(run)) == 2


def test_a_waiting_job_ends_with_the_task_that_started_it(opened, start, quick, monkeypatch):
    from ml.workflow.supervision import SUPERVISOR_VARIABLE

    key = layout.key_uri(opened().root, "extract", opened().key(EXTRACT))
    held_by(key, f"{socket.gethostname()}|{os.getpid()}|{identity().split('|')[2]}")
    monkeypatch.setattr(lease, "EXPIRY_SECONDS", 600.0)
    monkeypatch.setenv(SUPERVISOR_VARIABLE, ended_process())
    assert ended(start(opened("run"))) == 75


# --- stages


def test_a_forced_run_neither_waits_nor_makes_others_wait(opened, clock):
    run = opened("forced", force="extract")
    held_by(run.key_uri(EXTRACT), ELSEWHERE)
    assert wait_for_others(run, EXTRACT) is None
    seen = []

    def body(context):
        seen.append(leases(run.key_uri(EXTRACT)))
        return Result()

    assert run_stage(run, EXTRACT, body)
    assert clock.now == 1000
    assert seen == [["lease-1.json"]]
    assert wait_for_others(run, EXTRACT) == run.pinned("extract"), "what it has done itself counts"


def test_an_operator_waits_before_it_starts_a_job(opened, clock):
    run, other = opened("run"), opened("other")
    held_by(run.key_uri(EXTRACT), ELSEWHERE)

    def happen():
        storage.remove(layout.lease_uri(run.key_uri(EXTRACT), 1))
        run_stage(other, EXTRACT, lambda context: Result())

    clock.happen = happen
    assert wait_for_others(run, EXTRACT) == other.pinned("extract")
    assert wait_for_others(opened("new", max_fault_share=0.2), EXTRACT) is None, "nobody does its work"


def test_jobs_whose_deliveries_overlap_share_the_parts(opened, clock):
    run = opened()
    part = layout.key_uri(run.root, "extract", run.part_key(EXTRACT, run.deliveries[0]))
    held_by(part, ELSEWHERE)

    def happen():
        clock.happen = lambda: None
        storage.remove(layout.lease_uri(part, 1))
        run_stage(opened("other", force="extract"), EXTRACT, lambda context: Result(Stated(metric=2)))

    clock.happen = happen
    done = run_stage(run, EXTRACT, lambda context: pytest.fail("done by another"))
    assert done.metrics == {"metric": 2}


def test_a_clock_that_is_set_makes_no_process_look_like_another(monkeypatch):
    import psutil

    from ml.workflow import supervision

    before = identity()
    boot, created = psutil.boot_time, psutil.Process.create_time
    monkeypatch.setattr(psutil, "boot_time", lambda: boot() + 3600)  # as Linux tells it after the clock was set
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: created(self) + 3600)
    assert supervision.lives(before)
    assert identity() == before


def test_the_log_has_the_holders_clock_in_words():
    holder = Holder.of("run")
    assert datetime.datetime.fromisoformat(holder.since).tzinfo
    assert f"on {socket.gethostname()}" in str(holder)
