"""Decide what a clean-up must keep, from the state of the storage root at the last look."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

from ml import storage
from ml.config.clean_up import CleanUpConfig
from ml.config.deployment import Deployment
from ml.retention.items import Group
from ml.retention.references import HoldingRun, References
from ml.workflow import layout
from ml.workflow.folder import TRAINING
from ml.workflow.lease import read_holder
from ml.workflow.supervision import lives

IsRunning = Callable[[str, str], bool]  # by flow and run id
LOOK_AGAIN = 60.0  # seconds


def unscheduled(flow: str, run_id: str) -> bool:
    """Return False: a stand-in for shells, which cannot ask the scheduler and assume that no run is active."""
    return False


def store_time(root: str) -> float:
    """Return the time in seconds since 1970 by the clock that stamps the files below a storage root.

    The clock of this machine may be hours off, so that young files look old. Writes a small file and removes it.
    """
    folder, name = layout.plans_uri(root), f".clock-{uuid.uuid4().hex}"
    uri = storage.join(folder, name)
    try:
        storage.write_bytes(uri, b"{}", durable=False)
        return storage.survey(folder)[name].modified
    finally:
        storage.remove(uri)


class Judge:
    """Gives the reason to keep each item below a storage root, from its state at the last look."""

    def __init__(self, root: str, config: CleanUpConfig, deployment: Deployment, is_running: IsRunning) -> None:
        self.root, self.config, self.is_running = root, config, is_running
        self.now = store_time(root)
        self.references = References(root, deployment)
        self.look()

    def look(self) -> None:
        """List attempts, checkpoints and leases again, then read the pins, so that pins written meanwhile count."""
        self.attempts: dict[str, Group] = {}
        self.checkpoints: dict[str, Group] = {}
        self.leases: dict[str, Group] = {}
        kinds = {"attempts": self.attempts, "checkpoints": self.checkpoints, "lease": self.leases}
        for path, stat in storage.survey(layout.stages_uri(self.root)).items():
            if found := layout.parse_stage_path(path):
                group = Group(layout.uri_of_id(self.root, found.folder))
                kinds[found.kind].setdefault(found.folder, group).files[found.inner] = stat
        self.references.refresh()
        evaluated = sorted(
            (r for r in self.references.runs.values() if r.evaluated), key=lambda r: r.modified, reverse=True
        )
        self.newest = {run.uri for run in evaluated[: self.config.keep_runs]}
        self.busy = self._busy()
        self.looked = time.monotonic()

    def look_again(self) -> None:
        """Read the run folders again, and everything else if the last look, which lists every file, is too old."""
        if time.monotonic() > self.looked + LOOK_AGAIN:
            self.look()
        else:
            self.references.refresh()

    def young(self, modified: float) -> bool:
        """Return whether a time of last change is within the grace period."""
        return modified > self.now - self.config.grace_hours * 3600

    def old(self, modified: float) -> bool:
        """Return whether a time of last change is old enough for a run to be removed."""
        days = self.config.run_days
        return days is not None and not self.young(modified) and modified <= self.now - days * 86_400

    def run_stays(self, name: str) -> str | None:
        """Return why a run folder must be kept, or None."""
        run = self.references.runs[name]
        if not run.run_id:  # open_run writes `run.json` at once, and a removal deletes it first
            return "within the grace period" if self.young(run.modified) else None
        if not self.old(run.modified):
            return "not old enough"
        if run.uri in self.newest:
            return "among the newest evaluated"
        if run.flow == TRAINING and run.attempts & self.references.registered:
            return "a registered model comes from it"
        if name in self.busy or self.is_running(run.flow, run.run_id):
            return "under way"
        return None

    def attempt_stays(self, attempt: str, group: Group) -> str | None:
        """Return why an attempt, given by its id, must be kept, or None."""
        if self.young(group.modified):
            return "within the grace period"
        if group.committed:
            return self.references.holder(attempt)
        return "a live job is writing it" if group.in_work else None

    def checkpoints_stay(self, group: Group, runs: dict[str, HoldingRun]) -> str | None:
        """Return why the checkpoints of a run must be kept if these runs are, or None."""
        if self.young(group.modified):
            return "within the grace period"
        return "their run may resume" if group.uri.rpartition("/")[2] in runs else None

    def lease_stays(self, group: Group) -> str | None:
        """Return why a lease must be kept, or None; a live job renews its lease every few seconds."""
        if self.young(group.modified):
            return "within the grace period"
        holder = read_holder(group.uri)
        return "a live job holds it" if holder and lives(holder.job) else None

    def _busy(self) -> set[str]:
        """Return the folder names of runs that may be writing an attempt or checkpoints."""
        busy = {group.uri.rpartition("/")[2] for group in self.checkpoints.values() if self.young(group.modified)}
        for group in self.attempts.values():
            if not group.committed and (self.young(group.modified) or group.in_work):
                busy.add(group.claim.get("run", ""))
        return busy
