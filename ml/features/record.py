"""What stage featurize states about its features in its manifest."""

from __future__ import annotations

from ml.features.spec import ChipSpec

Sums = tuple[int, int, int]  # of all values of red, green and blue


class FeaturesRecord(ChipSpec):
    """The chips of a features attempt, how many there are, and the sums of their pixels, which readers check.

    Attributes:
        faces: Number of faces by split and label.
        channel_sums: The sums of the pixels by split.
        label_sums: The same by split and label: a face that comes with another's label changes them.
    """

    faces: dict[str, dict[str, int]]
    channel_sums: dict[str, Sums]
    label_sums: dict[str, dict[str, Sums]]

    @property
    def spec(self) -> ChipSpec:
        """What a model that learns from these features must agree with."""
        return ChipSpec(labels=self.labels, chip_size=self.chip_size, chip_class=self.chip_class, margin=self.margin)
