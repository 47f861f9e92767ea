"""Choose the reference of a new run: the earlier run that its data are compared with."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterator
from typing import NamedTuple

from ml.errors import DataError, StageError
from ml.workflow import layout
from ml.workflow.folder import TRAINING, RunRecord, read_pin, read_run_record, runs_with
from ml.workflow.reference import Reference, read_profile, read_reference
from ml.workflow.run import Run

log = logging.getLogger(__name__)


class Earlier(NamedTuple):
    """An earlier run; sorts by the time of its data, then by when it was evaluated.

    Attributes:
        as_of: It used deliveries dated before this time.
        name: Name of its attempt of stage evaluate.
        attempt: URI of that attempt.
        slug: Name of its run folder.
    """

    as_of: datetime.datetime
    name: str
    attempt: str
    slug: str


def find_reference(run: Run) -> Reference | None:
    """Return the reference of a run that is being opened, or None if there is none.

    It is the champion's run if that qualifies, else the newest run that does. A run qualifies if it was evaluated, is
    about the same labels and class, and used other data. With the same data there is no drift to find, and a new run
    of the same data gets the same reference, so that its evaluation is found again. Its `as_of` may not be later: a
    backfill is compared with what was known then.

    A run that is opened again with the same data keeps its reference, or stays without one: a repeated backfill finds
    its evaluations, although months that ran beside one another the first time did not see each other.
    """
    before = _read_record(run.uri)
    if before and "reference" in before.sources and _same_subject(before, run) and _same_data(before, run):
        return read_reference(run.uri)
    earlier = sorted(_earlier_runs(run), reverse=True)
    if not earlier:
        return None
    champion, number = _champion(run)
    for each in sorted(earlier, key=lambda found: found.slug != champion):  # stable: the others stay newest first
        if profile := read_profile(each.attempt):
            return Reference(attempt=each.attempt, champion=number if each.slug == champion else None, profile=profile)
    return None


def _earlier_runs(run: Run) -> Iterator[Earlier]:
    assert run.as_of, "which every training run has"
    now = datetime.datetime.fromisoformat(run.as_of)
    for uri in runs_with(run.root, "evaluate"):
        slug = layout.split_run_uri(uri)[1]
        record = _read_record(uri)
        if slug == run.slug or not record or not record.as_of:
            continue
        try:
            pin = read_pin(layout.pin_uri(uri, "evaluate"))
        except DataError as error:
            log.warning("skipped: %s", error)
            continue
        if pin and _same_subject(record, run) and not _same_data(record, run):
            as_of = datetime.datetime.fromisoformat(record.as_of)
            if as_of <= now:
                yield Earlier(as_of, layout.attempt_name(pin.attempt), pin.attempt, slug)


def _read_record(uri: str) -> RunRecord | None:
    """Return the record of a training run; return None if there is none or it is damaged."""
    try:
        record = read_run_record(uri)
    except DataError as error:
        log.warning("skipped: %s", error)
        return None
    return record if record and record.flow == TRAINING else None


def _same_subject(record: RunRecord, run: Run) -> bool:
    about = {"chip_class": run.config.chip_class, "labels": run.config.labels}
    return all(record.config.get(name) == value for name, value in about.items())


def _same_data(record: RunRecord, run: Run) -> bool:
    theirs = [(each["name"], each["tables"], each["photographs"]) for each in record.deliveries or []]
    return theirs == [(each.name, each.tables, each.photographs) for each in run.deliveries]


def _champion(run: Run) -> tuple[str | None, int | None]:
    """Return the run folder and the number of the champion, if there is one and the registry can be read."""
    from ml.tracking.registry import Registry  # imports SciPy and MLflow, which takes seconds

    try:
        champion = Registry(run.root, run.config).champion()
    except StageError as error:  # the comparison is for information, and must not keep the run from starting
        log.warning("The data are compared with those of the newest earlier run, not the champion's: %s", error)
        return None, None
    return (layout.split_run_uri(champion.run)[1], champion.number) if champion else (None, None)
