"""What chips, features, a model and its predictions must agree about."""

from __future__ import annotations

from ml.flow.record import Record


class ChipSpec(Record):
    """The chips that a network learns from.

    Attributes:
        labels: The labels in the order of their indices.
        chip_size: Width and height in pixels.
        chip_class: The Open Images class whose boxes are cut out.
        margin: Added around a box before the chip is cut, as a share of the box's longer side.
    """

    labels: tuple[str, ...]
    chip_size: int
    chip_class: str
    margin: float
