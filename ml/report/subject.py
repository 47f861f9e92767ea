"""What the labels are about, in words that claim no more than the annotations do."""

from __future__ import annotations

from ml.config.training import TrainingConfig

PERCEIVED = "perceived gender presentation"

PEOPLE = frozenset(("Woman", "Girl", "Man", "Boy"))


def subject(config: TrainingConfig) -> str:
    """What the labels are about, in words that claim no more than the annotations do."""
    return PERCEIVED if PEOPLE.issuperset(config.label_classes) else " or ".join(config.label_order)
