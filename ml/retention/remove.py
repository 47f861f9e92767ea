"""Cleans up the storage root: first a plan that lists what would go and why, then the removal of exactly that.

What goes:

- attempts that were never committed and that nobody writes any more
- committed attempts that nothing holds (see `ml.retention.references`)
- run folders by age, but never the newest evaluated ones, those that a registered model came from, or a run under way
- checkpoints of runs that are gone; the plans of earlier clean-ups, by the same age as runs

MLflow's own store, and the digests of releases, stay as they are.

Why nothing goes that somebody needs, although runs start, find, pin and commit attempts while this works:

1. What was written within the grace period is never touched, nor what a living process of this host has claimed
   (`_job.json`, an attempt's first file). The deployment's grace is longer than the longest timeout of a task; who asks
   for less answers for it that nothing is under way on another host.
2. The pins of every run folder count, whatever the run's age and state, until the folder itself is removed; and a run
   is removed only where it is not under way by any sign: its files, its claims, its checkpoints, and Airflow's word.
3. A job that is slower than the grace finds its claim gone. Maintenance removes the claim, then looks for a manifest;
   the job writes its manifest, then looks for the claim. Whatever the order, one of the two sees the other: either the
   attempt is kept, or the commit is taken back and the task fails with a reason. Nothing half there is ever read.
4. A run that finds an old attempt done pins it, then looks for the mark `_removing.json`, then for the manifest.
   Maintenance writes the mark, then reads all pins again, then removes the manifest before anything else and the mark
   after. Again one of the two sees the other: either the attempt is kept, whole all the time, or the run drops its pin
   and does the work again.
5. A key's `current.json` may point to nothing: it then counts as absent. It is removed with the key's last attempt.
6. Whatever cannot be read (a pin, MLflow) stops the clean-up: in doubt nothing is removed.

A clean-up that is killed leaves marks, which the next one removes with the attempt or, where it was pinned meanwhile,
alone. A run that is cleared in Airflow at the very moment when its folder goes fails with `There is no run`; a fresh
run finds all that is still held.
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
    """What a clean-up did: the items removed, and those of the plan that stayed after all, with the reason."""

    removed: list[Item] = []
    stayed: list[Item] = []


def remove(made: Plan, deployment: Deployment, is_running: IsRunning = unscheduled) -> Outcome:
    """Remove what a plan lists and nothing else, each after it was looked at once more.

    Args:
        made: The plan, with the parameters that it was made with.
        deployment: The deployment's settings, which may hold attempts too.
        is_running: Tells whether a run is queued or under way.

    Raises:
        StageError: As `plan`. What was removed until then is.
    """
    judge = Judge(made.root, made.config, deployment, is_running)
    removers = {
        "run": _remove_run,
        "attempt": _remove_attempt,
        "checkpoints": _remove_checkpoints,
        "mark": _remove_file,
        "plan": _remove_file,
    }
    outcome = Outcome()
    for item in made.items:
        found = Group(item.uri, storage.survey(item.uri))
        reason: str | None
        if not found.files:
            reason = "gone already"
        elif found.modified > item.modified:
            reason = "written to since the plan"
        else:
            reason = removers[item.kind](judge, found)
        if reason is None:
            log.info("removed: %s %s, %d bytes", item.kind, item.uri, item.bytes)
            outcome.removed.append(item)
        else:
            log.info("stays after all: %s %s: %s", item.kind, item.uri, reason)
            outcome.stayed.append(item.model_copy(update={"reason": reason}))
    return outcome


def _remove_run(judge: Judge, found: Group) -> str | None:
    judge.look_again()
    if reason := judge.run_stays(layout.split_run_uri(found.uri)[1]):
        return reason
    # Without it nobody can load the run any more, while its pins still count.
    storage.remove(layout.run_file_uri(found.uri))
    storage.remove(found.uri)
    judge.references.refresh()  # what it alone held goes next
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
    """Remove what is left of a key without attempts: its pointer and, on a local disk, empty folders."""
    folders = [layout.attempts_uri(key_uri), layout.all_checkpoints_uri(key_uri), key_uri]
    if storage.survey(folders[0]):
        return
    storage.remove(layout.pointer_uri(key_uri))
    for path in filter(None, map(storage.local_path, folders)):
        with contextlib.suppress(OSError):  # it is not there, or not empty
            path.rmdir()


def _remove_checkpoints(judge: Judge, found: Group) -> str | None:
    judge.references.refresh()
    if reason := judge.checkpoints_stay(found, judge.references.runs):
        return reason
    storage.remove(found.uri)
    _tidy(layout.key_of_checkpoints(found.uri))
    return None


def _remove_file(judge: Judge, found: Group) -> str | None:
    storage.remove(found.uri)
    return None
