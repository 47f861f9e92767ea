"""The figures that are shown: in which order, in which part of the report, and with which words.

A figure of stage evaluate is a row here and a row in `ml.report.figures.evaluation.PLOTS`; report and web page follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Part = Literal["metrics", "calibration", "abstention", "slices", "comparison", "training", "wrong", "correct"]
Kind = Literal["", "wide", "wide sheet"]
Group = Literal["Plots", "Examples", "The release explored"]


@dataclass(frozen=True)
class Caption:
    """How a figure is shown.

    Attributes:
        text: What can be seen on it, for readers of the report and for those who cannot see it.
        part: The part of the report that it belongs to; empty for those of the exploration.
        kind: How much room it takes; a sheet holds single faces or photographs.
    """

    text: str
    part: Part | Literal[""] = ""
    kind: Kind = ""

    @property
    def group(self) -> Group:
        """The part of the web page that it belongs to."""
        if not self.part:
            return "The release explored"
        return "Examples" if self.part in ("wrong", "correct") else "Plots"


CAPTIONS: dict[str, Caption] = {
    "confusion_matrix": Caption(
        "Confusion matrix. Rows: what annotators said. Columns: what the model says. Shares are of the row.", "metrics"
    ),
    "roc": Caption(
        "ROC curve: for every threshold, how much of the second label is found against how much of the first is "
        "mistaken for it.",
        "metrics",
    ),
    "precision_recall": Caption(
        "Precision and recall: for every threshold, how many of a label's faces are found and how many of the answers "
        "are right. Dashed: always answering it.",
        "metrics",
    ),
    "reliability": Caption(
        "Reliability: above the diagonal the model is underconfident, below it overconfident.",
        "calibration",
        "wide sheet",
    ),
    "risk_coverage": Caption("Risk and coverage: what withholding the unsure answers buys.", "abstention"),
    "slices": Caption("Accuracy by slice. Pale: too few faces to name the slice as the worst.", "slices", "wide sheet"),
    "differences": Caption(
        "Difference in accuracy by slice. Right of the line the model is better, left of it the baseline. Pale: few "
        "faces.",
        "comparison",
        "wide sheet",
    ),
    "curves": Caption("Loss and accuracy by epoch.", "training", "wide"),
    "wrong": Caption("Test faces where annotation and prediction differ, the surest first.", "wrong", "wide sheet"),
    "grad_cam_wrong": Caption(
        "The same mistakes, and by Grad-CAM what in them spoke for the wrong answer.", "wrong", "wide sheet"
    ),
    "correct": Caption(
        "Test faces where annotation and prediction agree, chosen by a digest of the face's id.",
        "correct",
        "wide sheet",
    ),
    "grad_cam_correct": Caption(
        "The first of them, and by Grad-CAM what in them spoke for the answer.", "correct", "wide sheet"
    ),
    "contact_sheet": Caption("A sample of the release with its boxes.", kind="wide sheet"),
}


def caption(name: str) -> Caption:
    """Return how a figure is shown; one of the exploration that has no row here is shown under its name."""
    return CAPTIONS.get(name) or Caption(name.replace("_", " ").capitalize(), kind="wide")


def part_of(part: Part) -> list[str]:
    """Return the names of the figures of a part of the report, in order."""
    return [name for name, found in CAPTIONS.items() if found.part == part]
