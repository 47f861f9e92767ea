"""Download a delivery: fetch the annotation files, pick images, fetch their photographs, write the tables, seal.

Every step continues where an earlier call was interrupted. The delivery is sealed last, so that no run sees it before
it is complete.
"""

from __future__ import annotations

import datetime
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ml import disk, storage
from ml.config.deployment import Deployment
from ml.config.download import DownloadConfig
from ml.config.roots import Roots, validate_below
from ml.download import landing as landings
from ml.download.annotations import Annotations, cache_folder, fetch_annotations
from ml.download.faults import FetchError
from ml.download.picking import Pick, pick
from ml.download.progress import show_progress
from ml.download.tables import describe, write_failures, write_tables
from ml.download.transfer import Outcome, check_whole, fetch_photographs
from ml.errors import DataError, StageError, TransientError
from ml.flow.record import Record
from ml.photographs.opening import open_photographs
from ml.photographs.source import SUBSETS, SUFFIX, photograph_name
from ml.release.note import read_note, seal
from ml.workflow import layout

log = logging.getLogger(__name__)
MEAN_BYTES = 300_000  # of a published photograph


class DownloadRecord(Record):
    """What a download did.

    Attributes:
        delivery: URI of the delivery.
        picked: Number of images picked.
        images: Number of photographs that the delivery holds.
        fetched: How many of them this call fetched; the others were there.
        originals: How many of these came from their original address.
        bytes: Size of what this call fetched.
        seconds: Time that fetching the photographs took.
        retries: Number of requests that were repeated.
        failures: Number of photographs that could not be fetched, by reason.
        labels: Number of picked images by subset and label.
        found_done: The delivery was complete before.
    """

    delivery: str
    picked: int
    images: int
    fetched: int = 0
    originals: int = 0
    bytes: int = 0
    seconds: float = 0.0
    retries: int = 0
    failures: dict[str, int] = {}
    labels: dict[str, dict[str, int]] = {}
    found_done: bool = False

    def __str__(self) -> str:
        if self.found_done:
            return f"{self.delivery} is complete: {self.images:,} photographs. Nothing was fetched."
        missing = ", ".join(f"{count:,} {reason}" for reason, count in self.failures.items())
        return (
            f"{self.delivery}: {self.images:,} photographs, {self.fetched:,} of them ({self.bytes / 1e6:,.1f} MB) "
            f"fetched in {self.seconds:,.0f} s; missing: {missing or 'none'}"
        )


class Target(Record):
    """A download that is about to begin: its valid parameters, and the delivery.

    Attributes:
        config: The parameters.
        cache: The folder of the annotation files.
        landing: URI of the landing.
        date: The delivery's date.
        folder: URI of the delivery.
    """

    config: DownloadConfig
    cache: Path
    landing: str
    date: datetime.date
    folder: str


def open_target(
    root: str,
    values: dict[str, object],
    deployment: Deployment,
    date: datetime.date | None = None,
    roots: Roots | None = None,
) -> Target:
    """Validate the parameters of a download, and find its delivery.

    Args:
        root: The storage root.
        values: The parameters that differ from the deployment's.
        deployment: The deployment's settings.
        date: The delivery's date, if the caller decides about it.
        roots: The places that parameters may name; None: any.

    Raises:
        ConfigurationError: A parameter is invalid, or the delivery cannot be written there.
    """
    config = validate_below(values, deployment.download, roots)
    landing = storage.normalize(config.landing or deployment.defaults.release)
    day = date or config.date or datetime.datetime.now(datetime.UTC).date()
    return Target(
        config=config,
        cache=cache_folder(config, layout.annotations_uri(root)),
        landing=landing,
        date=day,
        folder=landings.delivery_folder(landing, day),
    )


def download(target: Target) -> DownloadRecord:
    """Fetch a delivery and seal it; a complete one is left as it is.

    Raises:
        ConfigurationError: A class is unknown.
        NothingNewError: No image is left to pick.
        DataError: The host lacks an annotation file, or too many photographs exist nowhere.
        TransientError: Too many photographs could not be fetched now.
        ResourceError: The disk is too small.
    """
    config, folder = target.config, target.folder
    if landings.is_sealed(folder):
        held = read_note(target.landing, target.date.isoformat()).photographs or 0
        return DownloadRecord(delivery=folder, picked=held, images=held, found_done=True)
    files = fetch_annotations(config, target.cache)
    picked = choose(target, files)
    present = _whole_photographs(folder, picked)
    wanted = [each for name, each in describe(files, picked.images).items() if name not in present]
    disk.check_space(folder, len(wanted) * MEAN_BYTES, "The photographs")
    started = time.monotonic()
    with show_progress("photographs", len(wanted)) as progress:
        outcome = fetch_photographs(wanted, folder, config, progress, int(config.max_missing_share * picked.count))
    seconds = time.monotonic() - started
    write_failures(folder, outcome.failures)
    if outcome.stopped or len(outcome.failures) > config.max_missing_share * picked.count:
        raise _too_many_missing(target, picked, outcome)
    write_tables(files, folder, _arrived(picked, outcome))
    os.sync()  # the photographs were written without waiting for the disk
    note = seal(folder)
    return DownloadRecord(
        delivery=folder,
        picked=picked.count,
        images=note.photographs or 0,
        fetched=outcome.fetched,
        originals=outcome.originals,
        bytes=outcome.bytes,
        seconds=round(seconds, 3),
        retries=outcome.retries,
        failures=outcome.reasons,
        labels=picked.labels,
    )


def choose(target: Target, files: Annotations) -> Pick:
    """Return the images of the delivery: those of an interrupted download, or else newly picked ones."""
    if plan := landings.read_plan(target.folder, target.config):
        log.info("%s: continuing with the %d images picked before", target.folder, plan.pick.count)
        return plan.pick
    picked = pick(target.config, files, landings.held_images(target.landing, target.date))
    landings.write_plan(target.folder, target.config, picked)
    log.info("%s: %d images picked; by label %s", target.folder, picked.count, picked.labels)
    return picked


def _whole_photographs(folder: str, picked: Pick) -> set[tuple[str, str]]:
    """Return the photographs that are there, and remove what an interrupted download left of others."""
    source = open_photographs(folder)
    there = {(subset, image) for subset, image, _ in source.list()}

    def is_whole(name: tuple[str, str]) -> bool:
        try:
            check_whole(source.read(*name))
        except FetchError:
            return False
        return True

    whole = there & picked.names()
    if local := storage.local_path(folder):  # an object store has each photograph whole or not at all
        names = sorted(whole)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            whole = {name for name, good in zip(names, pool.map(is_whole, names), strict=True) if good}
        for left in (path for subset in SUBSETS for path in local.glob(f"{subset}/.*{SUFFIX}.*.tmp")):
            left.unlink()
    for name in there - whole:
        storage.remove(storage.join(folder, photograph_name(*name)))
    return whole


def _arrived(picked: Pick, outcome: Outcome) -> dict[str, list[str]]:
    missing = {(failure.subset, failure.image_id) for failure in outcome.failures}
    return {
        subset: [image for image in images if (subset, image) not in missing]
        for subset, images in picked.images.items()
    }


def _too_many_missing(target: Target, picked: Pick, outcome: Outcome) -> StageError:
    count = len(outcome.failures)
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in outcome.reasons.items())
    message = (
        f"{count:,} of {picked.count:,} photographs cannot be fetched ({reasons}), more than max_missing_share = "
        f"{target.config.max_missing_share:g}{'; the rest was not tried' if outcome.stopped else ''}. "
        f"{storage.join(target.folder, landings.FAILURES)} lists them."
    )
    if all(failure.lasting for failure in outcome.failures):
        return DataError(message, "Correct photographs_url, or raise max_missing_share.")
    return TransientError(message, "Start the download again: it fetches only what is missing.")
