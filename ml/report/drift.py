"""Words about drift, for the report, the web page and notifications."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ml.metrics.drift import Differences, DriftMetrics
from ml.metrics.shift import LEVELS, Level, Shift, highest

TITLES = {
    "labels": "labels",
    "splits": "splits",
    "outcomes": "outcomes of labeling",
    "chips": "outcomes of chipping",
    "classes": "most frequent classes",
    "agreement": "agreement with MIAP",
    "face_px": "face size in pixels",
    "brightness": "brightness, 0 to 1",
}
NAMED = 3  # drifted distributions that a line names


@dataclass(frozen=True)
class ShiftRow:
    """A row of the table of distributions.

    Attributes:
        title: What is compared.
        whole: All data of the run against the reference.
        added: The added data against the reference; None if they cannot be told apart.
    """

    title: str
    whole: Shift
    added: Shift | None

    @property
    def most(self) -> Shift:
        """The comparison that has drifted further."""
        return self.added if self.added and (self.added.psi or 0) > (self.whole.psi or 0) else self.whole

    @property
    def level(self) -> Level:
        """The higher level of both comparisons."""
        return highest([self.whole.level, self.added.level if self.added else "none"])


def shift_rows(drift: DriftMetrics) -> list[ShiftRow]:
    """Return a row for each distribution that was compared."""
    added = {shift.name: shift for shift in drift.added.shifts} if drift.added else {}
    return [
        ShiftRow(title=title_of(shift.name), whole=shift, added=added.get(shift.name)) for shift in drift.whole.shifts
    ]


def title_of(name: str) -> str:
    """Return the title of what is compared."""
    return TITLES.get(name, name.replace("_", " "))


def reference_name(drift: DriftMetrics) -> str:
    """Return the words for the reference, such as `run monthly (champion, version 3)`."""
    return f"run {drift.run_id}" + (f" (champion, version {drift.champion})" if drift.champion else "")


def drift_line(drift: DriftMetrics) -> str:
    """Return one line that says whether the data have drifted, and what has drifted most."""
    against = f"against {reference_name(drift)}"
    if drift.level == "none":
        return f"No data drift {against}."
    parts = [
        *_named("in all data", drift.whole),
        *(_named("in the added data", drift.added) if drift.added else []),
    ]
    return f"Data drift ({drift.level}) {against}: {'; '.join(parts)}."


def _named(where: str, found: Differences) -> list[str]:
    """Return the drifted tables and distributions, the furthest first, in words."""
    drifted: list[tuple[Level, float, str]] = [
        (shift.level, shift.psi or 0.0, f"{title_of(shift.name)} (PSI {shift.psi or 0.0:.2f})")
        for shift in found.shifts
        if shift.level != "none"
    ]
    drifted += [
        (
            row.level,
            abs(row.change or 0.0),
            f"{'rows' if row.table in ('images', 'classes') else 'rows per image'} "
            f"of {row.table} ({row.change or 0.0:+.0%})",
        )
        for row in found.rows
        if row.level != "none"
    ]
    if not drifted:
        return []
    drifted.sort(key=lambda each: (-LEVELS.index(each[0]), -each[1]))
    return [f"{where} {_listed([text for *_, text in drifted])}"]


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - NAMED} more" if len(texts) > NAMED else ""
    return ", ".join(texts[:NAMED]) + more
