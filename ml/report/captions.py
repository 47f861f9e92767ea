"""The order, report section and caption of each figure.

To add a figure to stage evaluate, add a row here and a row in `ml.report.figures.evaluation.PLOTS`; the report and the
web page use both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Part = Literal[
    "metrics",
    "calibration",
    "abstention",
    "slices",
    "comparison",
    "drift",
    "training",
    "wrong",
    "correct",
    "suspects",
]
Kind = Literal["", "wide", "wide sheet"]
Group = Literal["Plots", "Examples", "The release explored"]


@dataclass(frozen=True)
class Caption:
    """How a figure is shown.

    Attributes:
        text: What the figure shows; both its caption and its alternative text.
        part: The section of the report that it belongs to; empty for figures of the exploration.
        kind: How much room the figure takes; a sheet holds single faces or photographs.
    """

    text: str
    part: Part | Literal[""] = ""
    kind: Kind = ""

    @property
    def group(self) -> Group:
        """The section of the web page that the figure belongs to."""
        if not self.part:
            return "The release explored"
        return "Examples" if self.part in ("wrong", "correct", "suspects") else "Plots"


CAPTIONS: dict[str, Caption] = {
    "confusion_matrix": Caption(
        "Confusion matrix. Rows: annotated label. Columns: predicted label. Percentages are shares of the row.",
        "metrics",
    ),
    "roc": Caption(
        "ROC curve: for each threshold, the share of the second label that is found against the share of the first "
        "that is mistaken for it.",
        "metrics",
    ),
    "precision_recall": Caption(
        "Precision and recall: for each threshold, the share of a label's chips that are found and the share of its "
        "predictions that are right. Dashed: always predicting the label.",
        "metrics",
    ),
    "reliability": Caption(
        "Reliability: above the diagonal the model is underconfident, below it overconfident.",
        "calibration",
        "wide sheet",
    ),
    "risk_coverage": Caption(
        "Risk and coverage: the error rate when the least confident predictions are withheld.", "abstention"
    ),
    "slices": Caption("Accuracy by slice. Pale: too few chips to be the worst slice.", "slices", "wide sheet"),
    "differences": Caption(
        "Difference in accuracy by slice. Right of the line the model is better, left of it the baseline. Pale: few "
        "chips.",
        "comparison",
        "wide sheet",
    ),
    "drift_distributions": Caption(
        "Face size and brightness of the chips. Gray: the reference. Blue: this run. Orange, if shown: the data added "
        "since.",
        "drift",
        "wide sheet",
    ),
    "drift_shares": Caption(
        "Shares of labels, splits, outcomes and classes. Gray: the reference. Blue: this run. Orange, if shown: the "
        "data added since.",
        "drift",
        "wide sheet",
    ),
    "curves": Caption("Loss and accuracy by epoch.", "training", "wide"),
    "wrong": Caption("Test chips where annotation and prediction differ, most confident first.", "wrong", "wide sheet"),
    "grad_cam_wrong": Caption(
        "The same mistakes, with the areas that supported the wrong prediction (Grad-CAM).", "wrong", "wide sheet"
    ),
    "correct": Caption(
        "Test chips where annotation and prediction agree, chosen by a digest of their id.",
        "correct",
        "wide sheet",
    ),
    "grad_cam_correct": Caption(
        "The first of these chips, with the areas that supported the prediction (Grad-CAM).", "correct", "wide sheet"
    ),
    "suspects_train": Caption(
        "Training chips whose label the model contradicts most surely, estimated without their photograph.",
        "suspects",
        "wide sheet",
    ),
    "suspects_validation": Caption(
        "Validation chips whose label the model contradicts most surely.", "suspects", "wide sheet"
    ),
    "suspects_test": Caption("Test chips whose label the model contradicts most surely.", "suspects", "wide sheet"),
    "contact_sheet": Caption("A sample of the release with its boxes.", kind="wide sheet"),
    "top_classes": Caption("The classes verified on most images.", kind="wide"),
    "verified_images": Caption("Images by label: all labels verified as present, or one as absent.", kind="wide"),
    "faces_per_image": Caption("Images by their number of boxes.", kind="wide"),
    "face_sizes": Caption("Boxes by their longer side.", kind="wide"),
    "boxes_by_source": Caption("Flags of the boxes by the boxes' source.", kind="wide"),
    "balance_subset": Caption("Labels by subset."),
    "balance_split": Caption("Labels by split."),
    "balance_face_px": Caption("Labels by face size."),
    "balance_is_occluded": Caption("Labels by occlusion."),
    "balance_age_presentation": Caption("Labels by age presentation."),
}


def caption(name: str) -> Caption:
    """Return a figure's caption; a figure of the exploration without a row here is captioned with its name."""
    return CAPTIONS.get(name) or Caption(name.replace("_", " ").capitalize(), kind="wide")


def part_of(part: Part) -> list[str]:
    """Return the names of the figures in a section of the report, in order."""
    return [name for name, found in CAPTIONS.items() if found.part == part]
