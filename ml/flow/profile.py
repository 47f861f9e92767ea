"""The profile of a run's data: counts and histograms that suffice to compare it with the data of another run."""

from __future__ import annotations

from typing import Any

from ml.flow.record import Record


class Histogram(Record):
    """A histogram with fixed edges, so that the histograms of two runs can be compared bin by bin.

    Attributes:
        edges: The inner edges of the bins, ascending.
        counts: Number of values in each bin, one more than edges: below the first edge, from each edge up to the next,
            and from the last edge up.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]


class DataProfile(Record):
    """What the data of a run look like.

    It holds nothing of single faces or photographs, and it is all that a comparison reads, so that the data of the
    earlier run may have been removed.

    Attributes:
        run_id: The run that measured it.
        as_of: The run used deliveries dated before this time, in ISO format.
        deliveries: The digest of each delivery that the run used, by its name.
        settings: The run's parameters that affect the data.
        rows: Number of rows by table of the release.
        categories: Counts by category, by what is counted.
        histograms: Histograms of the faces that became features, by column.
    """

    run_id: str
    as_of: str
    deliveries: dict[str, str]
    settings: dict[str, Any]
    rows: dict[str, int]
    categories: dict[str, dict[str, int]]
    histograms: dict[str, Histogram]
