"""What an export states about itself: `export.json`, its last file."""

from __future__ import annotations

from ml.flow.record import Record

Counts = dict[str, dict[str, int]]


class ExportRecord(Record):
    """The origin and the counts of an export.

    Attributes:
        run_id: The run's id.
        format: The format.
        attempts: The attempt of each stage that the faces were read from.
        divided_by: `split` if the parts are the splits of stage featurize, `subset` if they are the release's subsets.
        labels: The labels in order; a label's place is its index.
        faces: The faces by part and label. A part without faces has no files.
        left_out: The boxes that are not exported, by the stage that left them out and by reason; `export` counts those
            that this program left out.
        photographs: Number of photographs that the faces are on.
        without_author: Number of them whose author the release does not name.
        without_license: Number of them whose license the release does not name.
    """

    run_id: str
    format: str
    attempts: dict[str, str]
    divided_by: str
    labels: tuple[str, ...]
    faces: Counts
    left_out: Counts
    photographs: int
    without_author: int
    without_license: int

    @property
    def total(self) -> int:
        """The number of exported faces."""
        return sum(sum(by_label.values()) for by_label in self.faces.values())
