"""MIAP (More Inclusive Annotations for People, from Open Images Extended): its values and the labels they map to.

MIAP boxes whole persons, not faces, and gives each the gender presentation and the age presentation that annotators
perceived. Its authors ask that it be used for evaluation, not for training (Schumann et al., AIES 2021).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml.errors import ConfigurationError, DataError
from ml.photographs.source import SUBSETS
from ml.release.layout import places

if TYPE_CHECKING:  # Spark's workers read the columns of a face here, and should not load pydantic for that
    from ml.config.training import TrainingConfig
    from ml.release.release import Release

PERSON = "/m/01g317"  # the only class of MIAP's boxes
FEMININE, MASCULINE, UNKNOWN = "Predominantly Feminine", "Predominantly Masculine", "Unknown"
PRESENTATIONS = (FEMININE, MASCULINE, UNKNOWN)
AGES = ("Young", "Middle", "Older", UNKNOWN)
_CLASSES = {FEMININE: {"Woman", "Girl"}, MASCULINE: {"Man", "Boy"}}


def presentation_labels(config: TrainingConfig) -> dict[str, str] | None:
    """Map each of MIAP's two gender presentations to a configured label by the classes of the labels.

    Predominantly Feminine maps to the label with the class Woman or Girl, Predominantly Masculine to the label with Man
    or Boy. Return None if the labels do not match the presentations one to one.
    """
    found = {
        presentation: [label for label, names in config.labels.items() if classes & set(names)]
        for presentation, classes in _CLASSES.items()
    }
    feminine, masculine = found[FEMININE], found[MASCULINE]
    if len(feminine) == len(masculine) == 1 and feminine != masculine:
        return {FEMININE: feminine[0], MASCULINE: masculine[0]}
    return None


def check_miap(config: TrainingConfig, release: Release) -> None:
    """Check that the labels and the release support label strategy `miap`, if the run uses it.

    Raises:
        ConfigurationError: The labels do not match MIAP's presentations.
        DataError: The release lacks a MIAP file.
    """
    if config.label_strategy != "miap":
        return
    if presentation_labels(config) is None:
        labels = ", ".join(f"{label}: {' and '.join(names)}" for label, names in config.labels.items())
        raise ConfigurationError(
            f"label_strategy = 'miap': MIAP's presentations do not map to the labels {labels}.",
            "Give one label the class Woman or Girl and the other Man or Boy, or choose box or image.",
        )
    if missing := [subset for subset in SUBSETS if subset not in release.tables.get("miap", {})]:
        files = ", ".join(places("miap", subset)[0].path for subset in missing)
        raise DataError(
            f"label_strategy = 'miap': the release at {release.uri} has no {files}.",
            "Download the missing files of Open Images Extended (MIAP), or choose box or image.",
        )
