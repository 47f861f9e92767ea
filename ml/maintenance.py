"""Cleans up the storage root: first a plan that lists what would go and why, then the removal of exactly that.

What goes:

- attempts that were never committed and that nobody writes any more
- committed attempts that nothing holds (see `ml.pins`)
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
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from ml import storage
from ml.config import validate
from ml.deployment import load_deployment
from ml.errors import ConfigurationError
from ml.flow_configs import MaintenanceConfig
from ml.pins import Pins, RunFolder
from ml.stages import CLAIM, REMOVAL, new_attempt
from ml.supervision import lives

log = logging.getLogger(__name__)
Kind = Literal["run", "attempt", "checkpoints", "mark", "plan"]
IsRunning = Callable[[str, str], bool]  # by flow and run id
MANIFEST, ERROR = "manifest.json", "error.json"
LOOK_AGAIN = 60.0  # seconds


def unscheduled(flow: str, run_id: str) -> bool:
    """What a shell knows of a scheduler's runs: that none is queued or under way."""
    return False


class Item(BaseModel):
    """What is to go: a folder, or one file.

    Attributes:
        kind: What it is.
        uri: The folder or file, with all below it.
        reason: Why it may go.
        files: Number of files.
        bytes: Their size.
        modified: When one of them was last written, in seconds since 1970.
    """

    model_config = ConfigDict(frozen=True)

    kind: Kind
    uri: str
    reason: str
    files: int
    bytes: int
    modified: float


class Plan(BaseModel):
    """What a clean-up would remove.

    Attributes:
        root: The storage root.
        uri: Where the plan itself lies.
        made: When, in ISO format.
        config: The parameters.
        items: What would go.
        kept: Of what stays, how many by reason.
    """

    model_config = ConfigDict(frozen=True)

    root: str
    uri: str
    made: str
    config: MaintenanceConfig
    items: list[Item]
    kept: dict[str, int]


class Outcome(BaseModel):
    """What a clean-up did: the items removed, and those of the plan that stayed after all, with the reason."""

    removed: list[Item] = []
    stayed: list[Item] = []


def told(items: list[Item]) -> str:
    """Items by kind, with their size, as one line."""
    counts = Counter(item.kind for item in items)
    if not counts:
        return "nothing"
    parts = [f"{count} {kind if kind == 'checkpoints' or count == 1 else f'{kind}s'}" for kind, count in counts.items()]
    return f"{', '.join(parts)} ({sum(item.bytes for item in items) / 1e6:.1f} MB)"


@dataclass
class _Group:
    """The files of an attempt, of a run's checkpoints, or of all else below one folder."""

    uri: str
    files: dict[str, storage.Stat] = field(default_factory=dict)

    @property
    def modified(self) -> float:
        """When it was last written, but for the mark, which is maintenance's own."""
        return max((stat.modified for path, stat in self.files.items() if path != REMOVAL), default=0.0)

    @property
    def committed(self) -> bool:
        return MANIFEST in self.files

    @property
    def claim(self) -> dict[str, str]:
        """Who writes the attempt: `run`, its folder's name, and `job`, a process. Empty where no claim is left."""
        try:
            return dict(storage.read_json(storage.join(self.uri, CLAIM)))
        except FileNotFoundError:
            return {}

    @property
    def in_work(self) -> bool:
        """Whether a process of this host still writes the attempt; one that failed has said so."""
        return not self.committed and ERROR not in self.files and lives(self.claim.get("job", ""))

    def item(self, kind: Kind, reason: str) -> Item:
        size = sum(stat.bytes for stat in self.files.values())
        return Item(kind=kind, uri=self.uri, reason=reason, files=len(self.files), bytes=size, modified=self.modified)


def plan(root: str, values: dict[str, Any], is_running: IsRunning = unscheduled) -> Plan:
    """List what a clean-up would remove, and write the list below `maintenance/` of the storage root.

    Args:
        root: The storage root.
        values: Parameters of `MaintenanceConfig`, on top of the deployment's defaults.
        is_running: Tells whether a run is queued or under way.

    Raises:
        ConfigurationError: A parameter is wrong, or MLflow is not named where it must be.
        DataError: A run folder is damaged.
        PassingError: The tracking server does not answer.
        ResourceError: MLflow's local database cannot be used.
    """
    config = validate(values, load_deployment().maintenance)
    judge = _Judge(storage.normalise(root), config, is_running)
    kept: Counter[str] = Counter()
    items = list(_goes(judge, kept))
    uri = storage.join(judge.root, "maintenance", f"{new_attempt()}.json")
    made = Plan(root=judge.root, uri=uri, made=_now().isoformat(), config=config, items=items, kept=dict(kept))
    storage.write_bytes(uri, made.model_dump_json(indent=2).encode())
    for item in items:
        log.info("goes: %s %s, %d bytes: %s", item.kind, item.uri, item.bytes, item.reason)
    for reason, count in kept.items():
        log.info("stays: %s: %d", reason, count)
    return made


def _goes(judge: _Judge, kept: Counter[str]) -> Iterator[Item]:
    """What goes; what stays is counted by reason."""
    left = dict(judge.pins.runs)
    for name, run in judge.pins.runs.items():
        if reason := judge.run_stays(name):
            kept[f"run: {reason}"] += 1
        else:
            why = f"unchanged for {judge.config.run_days:g} days" if run.run_id else "never opened, or half removed"
            yield _Group(run.uri, run.files).item("run", why)
            del left[name]
    judge.pins.hold(left)
    for attempt, group in judge.attempts.items():
        reason = judge.attempt_stays(attempt, group)
        if reason is None:
            why = "no run, experiment or model holds it" if group.committed else "never committed"
            yield group.item("attempt", why)
            continue
        kept[f"attempt: {reason}"] += 1
        mark = group.files.get(REMOVAL)
        if mark and not judge.young(mark.modified):
            uri = storage.join(group.uri, REMOVAL)
            yield _Group(uri, {"": mark}).item("mark", "left by a clean-up that was killed")
    for group in judge.checkpoints.values():
        if reason := judge.checkpoints_stay(group, left):
            kept[f"checkpoints: {reason}"] += 1
        else:
            yield group.item("checkpoints", "their run is gone")
    folder = storage.join(judge.root, "maintenance")
    for name, stat in storage.survey(folder).items():
        if judge.old(stat.modified):
            yield _Group(storage.join(folder, name), {"": stat}).item("plan", f"{judge.config.run_days:g} days old")


def load_plan(uri: str) -> Plan:
    """Read a plan.

    Raises:
        ConfigurationError: There is none, or it is damaged.
    """
    try:
        return Plan.model_validate_json(storage.read_bytes(uri))
    except (FileNotFoundError, ValueError) as error:
        raise ConfigurationError(f"{uri} is no plan of a clean-up: {error}", "Make a plan first.") from error


def remove(made: Plan, is_running: IsRunning = unscheduled) -> Outcome:
    """Remove what a plan lists and nothing else, each after it was looked at once more.

    Args:
        made: The plan, with the parameters that it was made with.
        is_running: Tells whether a run is queued or under way.

    Raises:
        StageError: As `plan`. What was removed until then is.
    """
    judge = _Judge(made.root, made.config, is_running)
    removers = {
        "run": _remove_run,
        "attempt": _remove_attempt,
        "checkpoints": _remove_checkpoints,
        "mark": _remove_file,
        "plan": _remove_file,
    }
    outcome = Outcome()
    for item in made.items:
        inner = item.uri.removeprefix(f"{made.root}/")
        found = _Group(item.uri, storage.survey(item.uri))
        reason: str | None
        if not found.files:
            reason = "gone already"
        elif found.modified > item.modified:
            reason = "written to since the plan"
        else:
            reason = removers[item.kind](judge, inner, found)
        if reason is None:
            log.info("removed: %s %s, %d bytes", item.kind, item.uri, item.bytes)
            outcome.removed.append(item)
        else:
            log.info("stays after all: %s %s: %s", item.kind, item.uri, reason)
            outcome.stayed.append(item.model_copy(update={"reason": reason}))
    return outcome


def _remove_run(judge: _Judge, inner: str, found: _Group) -> str | None:
    judge.look_again()
    if reason := judge.run_stays(inner.removeprefix("runs/")):
        return reason
    # Without it nobody can load the run any more, while its pins still count.
    storage.remove(storage.join(found.uri, "run.json"))
    storage.remove(found.uri)
    judge.pins.refresh()  # what it alone held goes next
    return None


def _remove_attempt(judge: _Judge, inner: str, found: _Group) -> str | None:
    attempt = inner.removeprefix("stages/")
    if reason := judge.attempt_stays(attempt, found):
        return reason
    mark = storage.join(found.uri, REMOVAL)
    storage.write_json(mark, {"since": _now().isoformat()})
    storage.remove(storage.join(found.uri, CLAIM))
    judge.pins.refresh()
    reason = judge.attempt_stays(attempt, found)
    if reason is None and not found.committed and storage.exists(storage.join(found.uri, MANIFEST)):
        reason = "committed since the plan"
    if reason:
        storage.remove(mark)
        return reason
    storage.remove(storage.join(found.uri, MANIFEST))
    storage.remove(found.uri)
    _tidy(found.uri.rpartition("/attempts/")[0])
    return None


def _tidy(key_uri: str) -> None:
    """Remove what is left of a key without attempts: its pointer and, on a local disk, empty folders."""
    folders = [storage.join(key_uri, "attempts"), storage.join(key_uri, "checkpoints"), key_uri]
    if storage.survey(folders[0]):
        return
    storage.remove(storage.join(key_uri, "current.json"))
    for path in filter(None, map(storage.local_path, folders)):
        with contextlib.suppress(OSError):  # it is not there, or not empty
            path.rmdir()


def _remove_checkpoints(judge: _Judge, inner: str, found: _Group) -> str | None:
    judge.pins.refresh()
    if reason := judge.checkpoints_stay(found, judge.pins.runs):
        return reason
    storage.remove(found.uri)
    _tidy(found.uri.rpartition("/checkpoints/")[0])
    return None


def _remove_file(judge: _Judge, inner: str, found: _Group) -> str | None:
    storage.remove(found.uri)
    return None


class _Judge:
    """Says of each thing below a storage root why it stays, by what was there at the last look."""

    def __init__(self, root: str, config: MaintenanceConfig, is_running: IsRunning) -> None:
        self.root, self.config, self.is_running = root, config, is_running
        self.now = _now().timestamp()
        self.pins = Pins(root)
        self.look()

    def look(self) -> None:
        """List attempts and checkpoints again, then read the pins: what is pinned meanwhile counts."""
        self.attempts: dict[str, _Group] = {}
        self.checkpoints: dict[str, _Group] = {}
        kinds = {"attempts": self.attempts, "checkpoints": self.checkpoints}
        folder = storage.join(self.root, "stages")
        for path, stat in storage.survey(folder).items():
            stage, key, kind, name, *inner = [*path.split("/"), "", ""]
            if kind in kinds and any(inner):
                uri = "/".join((stage, key, kind, name))
                group = kinds[kind].setdefault(uri, _Group(storage.join(folder, uri)))
                group.files[path.removeprefix(f"{uri}/")] = stat
        self.pins.refresh()
        evaluated = sorted((r for r in self.pins.runs.values() if r.evaluated), key=lambda r: r.modified, reverse=True)
        self.newest = {run.uri for run in evaluated[: self.config.keep_runs]}
        self.busy = self._busy()
        self.looked = _now().timestamp()

    def look_again(self) -> None:
        """Look at the run folders, and at all else where the last look is not of this moment: it lists every file."""
        if _now().timestamp() > self.looked + LOOK_AGAIN:
            self.look()
        else:
            self.pins.refresh()

    def young(self, modified: float) -> bool:
        """Whether something was written within the grace period."""
        return modified > self.now - self.config.grace_hours * 3600

    def old(self, modified: float) -> bool:
        """Whether something is as old as runs must be to go."""
        days = self.config.run_days
        return days is not None and not self.young(modified) and modified <= self.now - days * 86_400

    def run_stays(self, name: str) -> str | None:
        """Why a run folder stays, or None."""
        run = self.pins.runs[name]
        if not run.run_id:  # open_run writes its `run.json` at once; a removal begins with it
            return "within the grace period" if self.young(run.modified) else None
        if not self.old(run.modified):
            return "not old enough"
        if run.uri in self.newest:
            return "among the newest evaluated"
        if run.flow == "training" and run.attempts & self.pins.registered:
            return "a registered model comes from it"
        if name in self.busy or self.is_running(run.flow, run.run_id):
            return "under way"
        return None

    def attempt_stays(self, attempt: str, group: _Group) -> str | None:
        """Why an attempt, given as `attempt_id` has it, stays, or None."""
        if self.young(group.modified):
            return "within the grace period"
        if group.committed:
            return self.pins.holder(attempt)
        return "a living job writes it" if group.in_work else None

    def checkpoints_stay(self, group: _Group, runs: dict[str, RunFolder]) -> str | None:
        """Why the checkpoints of a run stay while these runs do, or None."""
        if self.young(group.modified):
            return "within the grace period"
        return "their run may go on" if group.uri.rpartition("/")[2] in runs else None

    def _busy(self) -> set[str]:
        """The folders' names of runs that may be writing an attempt or checkpoints."""
        busy = {group.uri.rpartition("/")[2] for group in self.checkpoints.values() if self.young(group.modified)}
        for group in self.attempts.values():
            if not group.committed and (self.young(group.modified) or group.in_work):
                busy.add(group.claim.get("run", ""))
        return busy


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
