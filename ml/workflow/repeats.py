"""Find the work that was done more than once: keys with several committed attempts.

A forced run does a stage again, and of two runs that do the same work at once both commit. The contents must be equal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ml.workflow import layout
from ml.workflow.attempt import is_committed


@dataclass(frozen=True)
class Repeat:
    """The two newest committed attempts of a key, given by their folders.

    Attributes:
        stage: The stage.
        newest: The newest attempt.
        before: The one before it.
    """

    stage: str
    newest: str
    before: str


def find_repeats(root: str, stages: Iterable[str]) -> list[Repeat]:
    """Return the keys of some stages that have at least two committed attempts, the newest attempt first."""
    repeats = []
    for stage in stages:
        by_key: dict[str, list[str]] = {}
        for attempt in layout.list_committed(root, stage):
            by_key.setdefault(layout.key_of_attempt(attempt), []).append(attempt)
        for attempts in by_key.values():
            if len(attempts) < 2:
                continue
            kept = sorted(filter(is_committed, attempts), key=layout.attempt_name)  # names sort by time
            if len(kept) > 1:
                repeats.append(Repeat(stage, newest=kept[-1], before=kept[-2]))
    return sorted(repeats, key=lambda repeat: layout.attempt_name(repeat.newest), reverse=True)
