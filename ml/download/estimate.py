"""Tell what a download would do, without writing anything."""

from __future__ import annotations

import asyncio
import logging
import time

from ml import disk
from ml.download import landing as landings
from ml.download.annotations import AT_ONCE, Annotations, find_annotations, look_at, missing_files, wanted_files
from ml.download.delivery import MEAN_BYTES, Target
from ml.download.faults import FetchError
from ml.download.picking import pick
from ml.download.progress import LogProgress, readable_time
from ml.download.sources import HttpHost, S3Host, open_host, open_session
from ml.download.tables import describe
from ml.download.transfer import Outcome, fetch_photographs
from ml.flow.record import Record
from ml.photographs.opening import open_photographs

log = logging.getLogger(__name__)
SAMPLE = 64  # photographs fetched to measure their size and the rate
MEASURED_BYTES = 8 << 20  # of an annotation file, to measure the rate when nothing is known of the photographs


class Estimate(Record):
    """What a download would do.

    Attributes:
        delivery: URI of the delivery.
        images: Number of photographs to fetch; those that are there are not counted.
        labels: Number of images by subset and label; empty while the annotation files are not in the cache.
        annotation_bytes: Size of the annotation files to fetch.
        photograph_bytes: Estimated size of the photographs.
        free_bytes: Free space on the landing's disk; None if it is not on this machine.
        seconds: Estimated time; None if nothing could be measured.
        sample: Number of photographs by which size and time are estimated; 0: by the published mean size.
        found_done: The delivery is complete, so that nothing would be fetched.
    """

    delivery: str
    images: int
    labels: dict[str, dict[str, int]] = {}
    annotation_bytes: int = 0
    photograph_bytes: int = 0
    free_bytes: int | None = None
    seconds: float | None = None
    sample: int = 0
    found_done: bool = False

    def __str__(self) -> str:
        if self.found_done:
            return f"{self.delivery} is complete; nothing would be fetched."
        by = f"by a sample of {self.sample}" if self.sample else "by the published mean; the images are not picked yet"
        free = "not known" if self.free_bytes is None else f"{self.free_bytes / 1e9:,.1f} GB"
        labels = "; ".join(
            f"{subset}: {', '.join(f'{count:,} {label}' for label, count in counts.items())}"
            for subset, counts in self.labels.items()
        )
        return "\n".join(
            [
                f"Dry run for {self.delivery}; nothing was written.",
                f"images: {self.images:,}" + (f" ({labels})" if labels else ""),
                f"annotation files: {self.annotation_bytes / 1e6:,.1f} MB to fetch",
                f"photographs: about {self.photograph_bytes / 1e6:,.1f} MB ({by})",
                f"free disk space: {free}",
                f"time: {'not known' if self.seconds is None else 'about ' + readable_time(self.seconds)}",
            ]
        )


def estimate(target: Target) -> Estimate:
    """Estimate what a download would do. Fetches a small sample to measure, and keeps nothing of it.

    Without annotation files in the cache, no image can be picked; then the number asked for counts.

    Raises:
        StageError: As `download`, if a class is unknown, no image is left, or the hosts do not answer.
    """
    if landings.is_sealed(target.folder):
        return Estimate(delivery=target.folder, images=0, found_done=True)
    free = disk.free_space(target.landing)
    if missing_files(target.config, target.cache):
        size, rate = asyncio.run(_measure_annotations(target))
        photographs = target.config.images * MEAN_BYTES
        seconds = (size + photographs) / rate if rate else None
        return Estimate(
            delivery=target.folder,
            images=target.config.images,
            annotation_bytes=size,
            photograph_bytes=photographs,
            free_bytes=free,
            seconds=seconds,
        )
    return _with_sample(target, find_annotations(target.config, target.cache), free)


def _with_sample(target: Target, files: Annotations, free: int | None) -> Estimate:
    """Pick the images, and fetch some of them to measure."""
    config, plan = target.config, landings.read_plan(target.folder, target.config)
    picked = plan.pick if plan else pick(config, files, landings.held_images(target.landing, target.date))
    there = {(subset, image) for subset, image, _ in open_photographs(target.folder).list()}
    wanted = [each for name, each in describe(files, picked.images).items() if name not in there]
    sample = wanted[:: max(1, len(wanted) // SAMPLE)][:SAMPLE]
    started = time.monotonic()
    once = config.model_copy(update={"retries": 0})  # waiting to try again would spoil the measurement
    outcome = fetch_photographs(sample, None, once, LogProgress("photographs", len(sample)), len(sample))
    seconds = time.monotonic() - started
    return Estimate(
        delivery=target.folder,
        images=len(wanted),
        labels=picked.labels,
        photograph_bytes=_scaled(outcome, len(sample), len(wanted)),
        free_bytes=free,
        seconds=seconds * len(wanted) / len(sample) if outcome.fetched else None,
        sample=outcome.fetched,
    )


def _scaled(outcome: Outcome, sample: int, count: int) -> int:
    return round(outcome.bytes * count / sample) if outcome.fetched else count * MEAN_BYTES


async def _measure_annotations(target: Target) -> tuple[int, float | None]:
    """Return the size of the annotation files to fetch, and the bytes per second of one of them."""
    config = target.config
    required = wanted_files(config)
    missing = missing_files(config, target.cache)
    async with (
        open_session() as session,
        open_host(config.annotations_url, session, config.timeout_seconds, AT_ONCE) as host,
    ):
        states = await look_at(host, config, missing)
        states |= await look_at(host, config, [path for path in required if not required[path]], lenient=True)
        largest = max(missing, key=lambda path: states[path].size or 0)
        return sum(state.size or 0 for state in states.values()), await _rate(host, largest)


async def _rate(host: HttpHost | S3Host, path: str) -> float | None:
    """Return the bytes per second at which a file begins to arrive; None if it does not."""
    read, started = 0, time.monotonic()
    try:
        async with host.open(path, 0, None) as opened:
            async for block in opened.blocks:
                read += len(block)
                if read >= MEASURED_BYTES:
                    break
    except FetchError as error:
        log.warning("%s/%s: %s; the time cannot be estimated", host.name, path, error)
        return None
    return read / max(time.monotonic() - started, 1e-9) if read else None
