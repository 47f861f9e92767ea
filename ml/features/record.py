"""The record that stage featurize writes to its manifest."""

from __future__ import annotations

from ml.features.spec import ChipSpec
from ml.flow.profile import Histogram

Sums = tuple[int, int, int]  # of all values of red, green and blue


class FeaturesRecord(ChipSpec):
    """The chips of a features attempt, their number, and the channel sums that readers check.

    Attributes:
        faces: Number of faces by split and label.
        channel_sums: Channel sums by split.
        label_sums: Channel sums by split and label, which change if faces are paired with wrong labels.
        histograms: Histograms of face size and brightness by column, to compare the data of two runs.
    """

    faces: dict[str, dict[str, int]]
    channel_sums: dict[str, Sums]
    label_sums: dict[str, dict[str, Sums]]
    histograms: dict[str, Histogram] = {}

    @property
    def spec(self) -> ChipSpec:
        """The specification that a model trained on these features must match."""
        return ChipSpec(labels=self.labels, chip_size=self.chip_size, chip_class=self.chip_class, margin=self.margin)
