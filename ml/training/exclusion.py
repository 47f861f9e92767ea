"""Exclude faces from training: what a list of faces leaves out of the features."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable

from ml.features.reader import FeatureReader
from ml.model.record import Exclusion

log = logging.getLogger(__name__)


def count_exclusion(training: FeatureReader, others: Iterable[FeatureReader], excluded: Collection[str]) -> Exclusion:
    """Count what a list of faces excludes, and log it.

    Args:
        training: The reader of the training split, which leaves the faces out.
        others: Readers of the other splits, which keep them.
        excluded: The ids on the list.
    """
    stated = training.stated.faces[training.split]
    removed = {name: stated[name] - left for name, left in zip(training.labels, training.faces, strict=True)}
    kept = sum(len(batch) for reader in others for batch in reader.find(excluded))
    found = Exclusion(excluded=removed, kept=kept, unknown=len(set(excluded)) - sum(removed.values()) - kept)
    log.info("exclude_faces leaves out %d training faces (%s)", found.faces, found.excluded)
    if found.kept:
        log.warning("exclude_faces lists %d faces of validation and test; those splits keep them", found.kept)
    if found.unknown:
        log.warning("exclude_faces lists %d ids that are not among the faces of this run", found.unknown)
    return found
