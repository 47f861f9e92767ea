"""Clean up the storage root: remove the items of a plan, and nothing else.

A clean-up removes:

- attempts that were never committed and that no job is writing
- committed attempts without references (see `ml.retention.references`)
- old run folders, except the newest evaluated runs, the runs of registered models, and active runs
- checkpoints of removed runs, and plans of earlier clean-ups that are as old as removed runs
- leases that killed jobs left (see `ml.workflow.lease`)

It does not touch MLflow's own store or the digests of releases.

Runs may start, find, pin and commit attempts during a clean-up. It still removes nothing that a run needs:

1. It never touches anything written within the grace period, or claimed by a live process on this host and not yet
   committed (`_job.json`, an attempt's first file). The grace period counts by the clock that stamps the files, so this
   machine's clock may be wrong. The deployment's grace period is longer than the longest timeout of a task. Anyone who
   requests a shorter one must make sure that no job is running on another host.
2. The pins of every run folder count, regardless of the run's age and state, until the folder itself is removed. A run
   is removed only if its files, claims and checkpoints, and Airflow, all show that it is not active.
3. A job that takes longer than the grace period finds its claim removed. The clean-up removes the claim, then looks for
   a manifest; the job writes its manifest, then looks for the claim. In any order, at least one of them sees the other:
   either the attempt is kept, or the job withdraws its commit and fails with a reason. No partial attempt is ever read.
4. A run that finds an old attempt done pins it, then looks for the mark `_removing.json`, then for the manifest. The
   clean-up writes the mark, reads all pins again, then removes the manifest first and the mark last. Again, at least
   one of them sees the other: either the attempt is kept and stays complete, or the run drops its pin and does the work
   again.
5. A key's `current.json` that names a removed attempt counts as absent. It is removed with the key's last attempt.
6. Anything that cannot be read (a pin, MLflow) stops the clean-up, so that nothing is removed in doubt.

A killed clean-up leaves marks. The next clean-up removes such a mark with its attempt or, if the attempt has been
pinned since, alone. A run that is cleared in Airflow while its folder is being removed fails with `There is no run`; a
new run finds everything that is still referenced.
"""

from __future__ import annotations

import contextlib
import datetime
import logging

from pydantic import BaseModel

from ml import storage
from ml.config.deployment import Deployment
from ml.retention.items import Group, Item
from ml.retention.judge import IsRunning, Judge, unscheduled
from ml.retention.plan import Plan
from ml.workflow import layout

log = logging.getLogger(__name__)


class Outcome(BaseModel):
    """The result of a clean-up: the items removed, and the items of the plan that were kept, with the reason."""

    removed: list[Item] = []
    stayed: list[Item] = []


def remove(made: Plan, deployment: Deployment, is_running: IsRunning = unscheduled) -> Outcome:
    """Remove the items of a plan after checking each one again.

    Args:
        made: The plan, with its parameters.
        deployment: The deployment's settings, which may refer to attempts.
        is_running: Returns whether a run is queued or running.

    Raises:
        StageError: As for `plan`. Items removed before the error stay removed.
    """
    judge = Judge(made.root, made.config, deployment, is_running)
    removers = {
        "run": _remove_run,
        "attempt": _remove_attempt,
        "checkpoints": _remove_checkpoints,
        "lease": _remove_lease,
        "mark": _remove_file,
        "plan": _remove_file,
    }
    outcome = Outcome()
    for item in made.items:
        found = Group(item.uri, storage.survey(item.uri))
        reason: str | None
        if not found.files:
            reason = "already removed"
        elif found.modified > item.modified:
            reason = "changed since the plan"
        else:
            reason = removers[item.kind](judge, found)
        if reason is None:
            log.info("removed: %s %s, %d bytes", item.kind, item.uri, item.bytes)
            outcome.removed.append(item)
        else:
            log.info("kept after all: %s %s: %s", item.kind, item.uri, reason)
            outcome.stayed.append(item.model_copy(update={"reason": reason}))
    return outcome


def _remove_run(judge: Judge, found: Group) -> str | None:
    judge.look_again()
    if reason := judge.run_stays(layout.split_run_uri(found.uri)[1]):
        return reason
    # Without `run.json` no job can load the run, but its pins still count.
    storage.remove(layout.run_file_uri(found.uri))
    storage.remove(found.uri)
    judge.references.refresh()  # attempts that only this run referred to can be removed next
    return None


def _remove_attempt(judge: Judge, found: Group) -> str | None:
    attempt = layout.id_of_uri(judge.root, found.uri)
    if reason := judge.attempt_stays(attempt, found):
        return reason
    mark = layout.removal_uri(found.uri)
    storage.write_json(mark, {"since": datetime.datetime.now(datetime.UTC).isoformat()})
    storage.remove(layout.claim_uri(found.uri))
    judge.references.refresh()
    reason = judge.attempt_stays(attempt, found)
    if reason is None and not found.committed and storage.exists(layout.manifest_uri(found.uri)):
        reason = "committed since the plan"
    if reason:
        storage.remove(mark)
        return reason
    storage.remove(layout.manifest_uri(found.uri))
    storage.remove(found.uri)
    _tidy(layout.key_of_attempt(found.uri))
    return None


def _tidy(key_uri: str) -> None:
    """Remove the rest of a key without attempts: its pointer and, on a local disk, its empty folders."""
    folders = [layout.attempts_uri(key_uri), layout.all_checkpoints_uri(key_uri), key_uri]
    if storage.survey(folders[0]):
        return
    storage.remove(layout.pointer_uri(key_uri))
    for path in filter(None, map(storage.local_path, folders)):
        with contextlib.suppress(OSError):  # it does not exist or is not empty
            path.rmdir()


def _remove_checkpoints(judge: Judge, found: Group) -> str | None:
    judge.references.refresh()
    if reason := judge.checkpoints_stay(found, judge.references.runs):
        return reason
    storage.remove(found.uri)
    _tidy(layout.key_of_checkpoints(found.uri))
    return None


def _remove_lease(judge: Judge, found: Group) -> str | None:
    if reason := judge.lease_stays(found):
        return reason
    storage.remove(found.uri)
    _tidy(layout.key_of_lease(found.uri))
    return None


def _remove_file(judge: Judge, found: Group) -> str | None:
    storage.remove(found.uri)
    return None
