"""What the writer of a format tells about what it wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from ml.export.credits import photographs_of
from ml.export.record import Counts
from ml.export.source import Source
from ml.photographs.source import SUBSETS

EXPORT = "export"  # the stage, so to speak, of what an export leaves out itself


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        faces: The faces by part and label.
        photographs: The photographs that they are on, with their credits.
        left_out: The boxes that were left out, by stage and reason.
        divided_by: What the parts are: `split` or `subset`.
    """

    faces: Counts
    photographs: pl.DataFrame
    left_out: Counts
    divided_by: str

    @property
    def parts(self) -> list[str]:
        """The parts that have faces; only they have files."""
        return [part for part, by_label in self.faces.items() if any(by_label.values())]


def count_faces(faces: pl.DataFrame, labels: Sequence[str]) -> Counts:
    """Count faces by the columns part and label, with zeros."""
    counts = {(part, label): count for part, label, count in faces.group_by("part", "label").len().iter_rows()}
    return {part: {label: counts.get((part, label), 0) for label in labels} for part in SUBSETS}


def of_chips(source: Source, rows: pl.DataFrame) -> Written:
    """Return what a format writes that holds all chips with a part.

    Args:
        source: The run.
        rows: The rows of `Source.chips` that have a part.
    """
    stages = ("join_labels", "chip")
    left_out = source.left_out(*stages)
    if (features := source.manifests.get("featurize")) is not None:
        left_out["featurize"] = {name: n for name, n in features.ledger.items() if n and name not in SUBSETS}
    return Written(count_faces(rows, source.labels), photographs_of(rows), left_out, source.divided_by)
