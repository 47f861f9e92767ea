"""Drift: how far the data of a run differ from those of an earlier run, the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ml.flow.profile import DataProfile, Histogram
from ml.flow.record import Record
from ml.metrics.shift import Level, Shift, compare_categories, compare_histograms, highest, level_of

MODERATE_CHANGE, LARGE_CHANGE = 0.1, 0.25  # of the rows per image
ENOUGH_IMAGES = 500  # with fewer, rows per image vary by a tenth by chance
REPLACED = 0.05  # share of counts that may be lower than the reference's, as a delivery that replaces images makes them
IMAGES, CLASSES = "images", "classes"
COUNTED = (IMAGES, CLASSES)  # tables whose rows are compared themselves, not per image
TOP = ("classes",)  # categories that list only the most frequent; one that is not listed may still be there


class RowChange(Record):
    """The rows of one table of the release, in the reference and in this run.

    Attributes:
        table: The table.
        reference: Number of rows in the reference.
        current: Number of rows in this run.
        change: Relative change of the rows per image; of the rows themselves for images and classes. None if the
            reference has none, and for the images of added data.
        level: How far it has drifted.
    """

    table: str
    reference: int
    current: int
    change: float | None
    level: Level


class Differences(Record):
    """All differences between two profiles."""

    rows: tuple[RowChange, ...]
    shifts: tuple[Shift, ...]

    @property
    def level(self) -> Level:
        """The highest level of all differences."""
        return highest([*(each.level for each in self.rows), *(each.level for each in self.shifts)])


class Setting(Record):
    """A parameter whose value differs from the reference's, which may explain a drift."""

    name: str
    reference: Any
    current: Any


class DriftMetrics(Record):
    """The drift of a run's data.

    Attributes:
        run_id: The reference's run.
        as_of: The reference used deliveries dated before this time, in ISO format.
        champion: The number of the reference's registered version if it is the champion.
        level: The highest level of all differences.
        whole: All data of this run, compared with the reference.
        added: Only the data that this run has and the reference lacks; None if they cannot be told apart.
        new_deliveries: The deliveries that the reference did not use.
        settings: The parameters that affect the data and differ from the reference's.
    """

    run_id: str
    as_of: str
    champion: int | None
    level: Level
    whole: Differences
    added: Differences | None
    new_deliveries: tuple[str, ...]
    settings: tuple[Setting, ...]


def measure_drift(reference: DataProfile, current: DataProfile, champion: int | None = None) -> DriftMetrics:
    """Compare the data of a run with those of an earlier one.

    Args:
        reference: The profile of the earlier run.
        current: The profile of this run.
        champion: The number of the reference's registered version if it is the champion.
    """
    whole = differences(reference, current)
    news = added(reference, current)
    parts = differences(reference, news, whole=False) if news else None
    return DriftMetrics(
        run_id=reference.run_id,
        as_of=reference.as_of,
        champion=champion,
        level=highest([whole.level, parts.level if parts else "none"]),
        whole=whole,
        added=parts,
        new_deliveries=tuple(name for name in current.deliveries if name not in reference.deliveries),
        settings=tuple(_changed(reference.settings, current.settings)),
    )


def differences(reference: DataProfile, current: DataProfile, whole: bool = True) -> Differences:
    """Return the differences of everything that both profiles hold.

    Args:
        reference: The profile of the earlier run.
        current: The profile to compare with it.
        whole: Whether it stands for all data of a run, which should not become fewer, or only for what was added.
    """
    shifts = [compare_categories(name, *_shared(name, reference, current)) for name in _categories(reference, current)]
    shifts += [
        compare_histograms(name, reference.histograms[name], current.histograms[name])
        for name in _histograms(reference, current)
    ]
    rows = [_row_change(name, reference.rows, current.rows, whole) for name in current.rows if name in reference.rows]
    return Differences(rows=tuple(rows), shifts=tuple(shifts))


def added(reference: DataProfile, current: DataProfile) -> DataProfile | None:
    """Return the profile of what a run's data have in addition to the reference's, or None if it cannot be told.

    Counts add up. So the difference of two profiles is that of the added data, if the run uses the reference's
    deliveries and settings, and more deliveries.
    """
    known = reference.deliveries.items() <= current.deliveries.items()
    if not known or len(current.deliveries) == len(reference.deliveries) or reference.settings != current.settings:
        return None
    # Every delivery lists all classes.
    rows = {name: count - reference.rows.get(name, 0) for name, count in current.rows.items() if name != CLASSES}
    categories = {}
    for name in _categories(reference, current):
        before, after = _shared(name, reference, current)
        categories[name] = {each: after.get(each, 0) - before.get(each, 0) for each in [*after, *before]}
    histograms = {}
    for name in _histograms(reference, current):
        before_counts, after_counts = reference.histograms[name].counts, current.histograms[name].counts
        histograms[name] = [after - before for before, after in zip(before_counts, after_counts, strict=True)]
    if not all(map(_grew, [[*rows.values()], *(list(c.values()) for c in categories.values()), *histograms.values()])):
        return None
    return current.model_copy(
        update={
            "rows": _at_least_0(rows),
            "categories": {name: _at_least_0(counts) for name, counts in categories.items()},
            "histograms": {
                name: Histogram(edges=current.histograms[name].edges, counts=tuple(max(0, n) for n in counts))
                for name, counts in histograms.items()
            },
        }
    )


def _row_change(table: str, reference: Mapping[str, int], current: Mapping[str, int], whole: bool) -> RowChange:
    before, after = reference[table], current[table]
    images = (reference.get(IMAGES, 0), current.get(IMAGES, 0))
    change: float | None = None
    level: Level = "none"
    if table in COUNTED:
        change = after / before - 1 if before and whole else None
        if change is not None and (change < 0 or table != IMAGES):  # more images are no fault
            level = level_of(abs(change), MODERATE_CHANGE, LARGE_CHANGE)
    elif before and min(images) > 0:
        change = (after / images[1]) / (before / images[0]) - 1
        if min(images) >= ENOUGH_IMAGES:
            level = level_of(abs(change), MODERATE_CHANGE, LARGE_CHANGE)
    return RowChange(table=table, reference=before, current=after, change=change, level=level)


def _categories(reference: DataProfile, current: DataProfile) -> list[str]:
    return [name for name in current.categories if name in reference.categories]


def _histograms(reference: DataProfile, current: DataProfile) -> list[str]:
    """Return the columns of which both profiles have a histogram with the same edges."""
    before = {name: found.edges for name, found in reference.histograms.items()}
    return [name for name, found in current.histograms.items() if before.get(name) == found.edges]


def _shared(name: str, reference: DataProfile, current: DataProfile) -> tuple[dict[str, int], dict[str, int]]:
    """Return the counts of both profiles, without categories that only one of two incomplete lists has."""
    before, after = reference.categories[name], current.categories[name]
    if name not in TOP:
        return before, after
    return {each: before[each] for each in before if each in after}, {
        each: after[each] for each in before if each in after
    }


def _at_least_0(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: max(0, count) for name, count in counts.items()}


def _grew(counts: Sequence[int]) -> bool:
    """Return whether differences of counts are those of added rows, except for a few that a delivery replaced."""
    lost, gained = -sum(min(0, count) for count in counts), sum(max(0, count) for count in counts)
    return lost <= REPLACED * gained


def _changed(reference: Mapping[str, Any], current: Mapping[str, Any]) -> list[Setting]:
    return [
        Setting(name=name, reference=reference[name], current=value)
        for name, value in current.items()
        if name in reference and reference[name] != value
    ]
