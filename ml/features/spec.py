"""The specification of chips that features, models and predictions must share."""

from __future__ import annotations

from ml.flow.record import Record


class ChipSpec(Record):
    """The specification of the chips that a network learns from.

    Attributes:
        labels: The labels in the order of their indices.
        chip_size: Width and height in pixels.
        chip_class: The Open Images class whose boxes are cut out.
        margin: The margin around a box, as a share of the box's longer side.
    """

    labels: tuple[str, ...]
    chip_size: int
    chip_class: str
    margin: float
