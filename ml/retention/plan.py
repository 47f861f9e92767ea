"""The plan of a clean-up: what would be removed, and why."""

from __future__ import annotations

import datetime
import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict

from ml import storage
from ml.config.clean_up import CleanUpConfig
from ml.config.deployment import Deployment
from ml.config.parameter import validate
from ml.errors import ConfigurationError
from ml.retention.items import Group, Item
from ml.retention.judge import IsRunning, Judge, unscheduled
from ml.workflow import layout
from ml.workflow.attempt import new_attempt

log = logging.getLogger(__name__)


class Plan(BaseModel):
    """The items that a clean-up would remove.

    Attributes:
        root: The storage root.
        uri: The plan's file.
        made: Time of the plan, in ISO format.
        config: The parameters.
        items: The items to remove.
        kept: Number of items kept, by kind and reason.
    """

    model_config = ConfigDict(frozen=True)

    root: str
    uri: str
    made: str
    config: CleanUpConfig
    items: list[Item]
    kept: dict[str, int]


def plan(root: str, values: dict[str, Any], deployment: Deployment, is_running: IsRunning = unscheduled) -> Plan:
    """List what a clean-up would remove, and write the list to `maintenance/` in the storage root.

    Args:
        root: The storage root.
        values: Parameters of `CleanUpConfig` that override the deployment's defaults.
        deployment: The deployment's settings, which may refer to attempts.
        is_running: Returns whether a run is queued or running.

    Raises:
        ConfigurationError: A parameter is invalid, or the deployment must name an MLflow server and does not.
        DataError: A run folder is damaged.
        TransientError: The tracking server does not respond.
        ResourceError: MLflow's local database cannot be used.
    """
    config = validate(values, deployment.maintenance)
    judge = Judge(storage.normalize(root), config, deployment, is_running)
    kept: Counter[str] = Counter()
    items = list(_removable(judge, kept))
    uri = layout.plan_uri(judge.root, new_attempt())
    made = Plan(
        root=judge.root,
        uri=uri,
        made=datetime.datetime.now(datetime.UTC).isoformat(),
        config=config,
        items=items,
        kept=dict(kept),
    )
    storage.write_bytes(uri, made.model_dump_json(indent=2).encode())
    for item in items:
        log.info("remove: %s %s, %d bytes: %s", item.kind, item.uri, item.bytes, item.reason)
    for reason, count in kept.items():
        log.info("keep: %s: %d", reason, count)
    return made


def _removable(judge: Judge, kept: Counter[str]) -> Iterator[Item]:
    """Yield the items to remove, and count those to keep by reason in `kept`."""
    left = dict(judge.references.runs)
    for name, run in judge.references.runs.items():
        if reason := judge.run_stays(name):
            kept[f"run: {reason}"] += 1
        else:
            why = f"unchanged for {judge.config.run_days:g} days" if run.run_id else "never opened, or partly removed"
            yield Group(run.uri, run.files).item("run", why)
            del left[name]
    judge.references.hold(left)
    for attempt, group in judge.attempts.items():
        reason = judge.attempt_stays(attempt, group)
        if reason is None:
            why = "no run, experiment or model holds it" if group.committed else "never committed"
            yield group.item("attempt", why)
            continue
        kept[f"attempt: {reason}"] += 1
        mark = group.files.get(layout.REMOVAL)
        if mark and not judge.young(mark.modified):
            uri = layout.removal_uri(group.uri)
            yield Group(uri, {"": mark}).item("mark", "left by a killed clean-up")
    for group in judge.checkpoints.values():
        if reason := judge.checkpoints_stay(group, left):
            kept[f"checkpoints: {reason}"] += 1
        else:
            yield group.item("checkpoints", "their run was removed")
    for group in judge.leases.values():
        if reason := judge.lease_stays(group):
            kept[f"lease: {reason}"] += 1
        else:
            yield group.item("lease", "left by a killed job")
    folder = layout.plans_uri(judge.root)
    for name, stat in storage.survey(folder).items():
        if judge.old(stat.modified):
            yield Group(storage.join(folder, name), {"": stat}).item("plan", f"{judge.config.run_days:g} days old")


def load_plan(uri: str) -> Plan:
    """Read a plan.

    Raises:
        ConfigurationError: There is no plan at the URI, or it is damaged.
    """
    try:
        return Plan.model_validate_json(storage.read_bytes(uri))
    except (FileNotFoundError, ValueError) as error:
        raise ConfigurationError(f"{uri} is not a clean-up plan: {error}", "Make a plan first.") from error
