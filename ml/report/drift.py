"""Words about drift, for the report, the web page and notifications."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ml.metrics.drift import COUNTED, Differences, DriftMetrics, RowChange
from ml.metrics.monitoring import MonitoringMetrics
from ml.metrics.shift import LEVELS, Shift
from ml.report.formats import signed_percent

TITLES = {
    "labels": "labels",
    "splits": "splits",
    "outcomes": "outcomes of labeling",
    "chips": "outcomes of chipping",
    "classes": "most frequent classes",
    "agreement": "agreement with MIAP",
    "face_px": "face size in pixels",
    "brightness": "brightness, 0 to 1",
    "answers": "answers",
    "confidence": "confidence of the answer",
}
ALL, ADDED = "all", "added"
Ranked = tuple[int, float, str]  # level, size and words of what has drifted
NAMED = 3  # drifted distributions that a line names


@dataclass(frozen=True)
class ShiftRow:
    """A row of the table of distributions.

    Attributes:
        title: What is compared.
        data: The data that are compared with the reference's.
        shift: The difference.
    """

    title: str
    data: str
    shift: Shift


@dataclass(frozen=True)
class TableRow:
    """A row of the tables' counts, named as `ShiftRow`."""

    data: str
    change: RowChange


def shift_rows(drift: DriftMetrics) -> list[ShiftRow]:
    """Return a row for each distribution that was compared, followed by that of the added data alone."""
    added = {shift.name: shift for shift in drift.added.shifts} if drift.added else {}
    rows = []
    for shift in drift.whole.shifts:
        rows.append(ShiftRow(title_of(shift.name), ALL, shift))
        if shift.name in added:
            rows.append(ShiftRow("", ADDED, added[shift.name]))
    return rows


def table_rows(drift: DriftMetrics) -> list[TableRow]:
    """Return a row for each table of the release, followed by that of the added data alone."""
    added = {row.table: row for row in drift.added.rows} if drift.added else {}
    rows = []
    for row in drift.whole.rows:
        rows.append(TableRow(ALL, row))
        if row.table in added:
            rows.append(TableRow(ADDED, added[row.table]))
    return rows


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
    parts = {ALL: _drifted(drift.whole), ADDED: _drifted(drift.added) if drift.added else []}
    found = " ".join(f"{data.capitalize()} data: {_listed(texts)}." for data, texts in parts.items() if texts)
    return f"Data drift ({drift.level}) {against}. {found}"


def monitoring_line(found: MonitoringMetrics) -> str:
    """Return one line that says whether a prediction's faces and answers are like those of the model's training."""
    if found.reference is None:
        return "Nothing of the model's training is left to compare with."
    if found.level == "none":
        return "Faces and answers are like those of the model's training."
    listed = _listed([text for *_, text in _furthest_first(_drifted_shifts(found.shifts))])
    return f"Faces or answers differ ({found.level}) from those of the model's training: {listed}."


def _drifted_shifts(shifts: Sequence[Shift]) -> list[Ranked]:
    return [
        (LEVELS.index(shift.level), shift.psi, f"{title_of(shift.name)} (PSI {shift.psi:.2f})")
        for shift in shifts
        if shift.level != "none" and shift.psi is not None
    ]


def _furthest_first(drifted: Sequence[Ranked]) -> list[Ranked]:
    return sorted(drifted, key=lambda each: (-each[0], -each[1]))


def _drifted(found: Differences) -> list[str]:
    """Return what has drifted in words, the furthest first."""
    drifted = _drifted_shifts(found.shifts)
    drifted += [
        (LEVELS.index(row.level), abs(row.change), f"{_measured_rows(row)} ({signed_percent(row.change)})")
        for row in found.rows
        if row.level != "none" and row.change is not None
    ]
    return [text for *_, text in _furthest_first(drifted)]


def _measured_rows(row: RowChange) -> str:
    return row.table if row.table in COUNTED else f"{row.table} per image"


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - NAMED} more" if len(texts) > NAMED else ""
    return ", ".join(texts[:NAMED]) + more
