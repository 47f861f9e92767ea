"""MIAP (More Inclusive Annotations for People, of Open Images Extended): its words, and the labels they stand for.

MIAP boxes whole persons, not faces, and states for each the gender presentation and the age presentation that
annotators perceived. Its authors ask that it be used to evaluate, not to train (Schumann et al., AIES 2021).
"""

from __future__ import annotations

from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError, DataError
from ml.release.layout import SUBSETS, places
from ml.release.release import Release

PERSON = "/m/01g317"  # the one class of MIAP's boxes
FEMININE, MASCULINE, UNKNOWN = "Predominantly Feminine", "Predominantly Masculine", "Unknown"
PRESENTATIONS = (FEMININE, MASCULINE, UNKNOWN)
AGES = ("Young", "Middle", "Older", UNKNOWN)
_CLASSES = {FEMININE: {"Woman", "Girl"}, MASCULINE: {"Man", "Boy"}}


def presentation_labels(config: TrainingConfig) -> dict[str, str] | None:
    """The configured label that each of MIAP's two presentations stands for, told by the labels' classes.

    Predominantly Feminine stands for the label with the class Woman or Girl, Predominantly Masculine for the one with
    Man or Boy. None where the labels are not these two presentations: one has classes of neither or of both.
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
    """Check that label strategy `miap` can be followed, where it is the run's.

    Raises:
        ConfigurationError: The labels are not the presentations that MIAP tells apart.
        DataError: The release lacks a MIAP file.
    """
    if config.label_strategy != "miap":
        return
    if presentation_labels(config) is None:
        told = ", ".join(f"{label}: {' and '.join(names)}" for label, names in config.labels.items())
        raise ConfigurationError(
            f"label_strategy = 'miap': MIAP's presentations cannot be told to the labels {told}.",
            "One label must have the class Woman or Girl, the other one Man or Boy; or choose box or image.",
        )
    if missing := [subset for subset in SUBSETS if subset not in release.tables.get("miap", {})]:
        files = ", ".join(places("miap", subset)[0] for subset in missing)
        raise DataError(
            f"label_strategy = 'miap': the release at {release.uri} has no {files}.",
            "Download the missing files of Open Images Extended (MIAP), or choose box or image.",
        )
