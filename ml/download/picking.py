"""Pick the images of a delivery by class, subset, number and balance: the same files give the same images."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl

from ml.config.download import DownloadConfig
from ml.download.annotations import Annotations, subsets_of
from ml.errors import ConfigurationError, DataError, NothingNewError
from ml.flow.record import Record
from ml.release.release import read_classes

log = logging.getLogger(__name__)
FLAGS_LEFT_OUT = ("IsGroupOf", "IsDepiction")  # such boxes are no faces that anything is learned from


class Pick(Record):
    """The images picked for a delivery.

    Attributes:
        images: Image ids by subset, in the order of picking.
        labels: Number of images by subset and label; an image may have several labels. Empty without balance.
        candidates: Number of images by subset that could have been picked.
    """

    images: dict[str, list[str]]
    labels: dict[str, dict[str, int]]
    candidates: dict[str, int]

    @property
    def count(self) -> int:
        """Number of images."""
        return sum(map(len, self.images.values()))

    def names(self) -> set[tuple[str, str]]:
        """Return subset and image id of every image."""
        return {(subset, image) for subset, images in self.images.items() for image in images}


def pick(config: DownloadConfig, files: Annotations, held: Collection[str]) -> Pick:
    """Pick the images of the next delivery.

    Args:
        config: What to pick.
        files: The annotation files.
        held: Images that are not picked, because another delivery holds them.

    Raises:
        ConfigurationError: A class is not in the class descriptions.
        NothingNewError: No image is left to pick.
    """
    mids = _mids(config, files)
    images: dict[str, list[str]] = {}
    labels: dict[str, dict[str, int]] = {}
    candidates: dict[str, int] = {}
    for subset, number in shares(config).items():
        found = _candidates(files.tables["boxes"][subset], config, mids, held)
        candidates[subset] = len(found)
        images[subset] = _balanced(found, number, list(config.balance)) if config.balance else _first(found, number)
        if config.balance:
            counts = Counter(label for image in images[subset] for label in found[image])
            labels[subset] = {label: counts[label] for label in config.balance}
        if (short := number - len(images[subset])) > 0:
            what = "that keep the labels balanced " if candidates[subset] > len(images[subset]) else ""
            log.warning("%s: %s images fewer than asked: no more %sare left", subset, f"{short:,}", what)
    made = Pick(images=images, labels=labels, candidates=candidates)
    if not made.count:
        raise NothingNewError(
            f"No image with a box of {', '.join(config.classes)} is left to pick: {len(held):,} are in deliveries.",
            "Choose other classes, subsets or labels.",
        )
    return made


def shares(config: DownloadConfig) -> dict[str, int]:
    """Return the number of images to pick from each subset; they add up to the number asked for."""
    exact = {subset: config.images * config.subsets[subset] for subset in subsets_of(config)}  # type: ignore[index]
    numbers = {subset: int(value) for subset, value in exact.items()}
    by_rest = sorted(exact, key=lambda subset: numbers[subset] - exact[subset])
    for subset in by_rest[: config.images - sum(numbers.values())]:
        numbers[subset] += 1
    return numbers


def order(image: str) -> bytes:
    """Return what images are sorted by, so that the picked ones are a random sample of all."""
    return hashlib.blake2b(image.encode(), digest_size=16).digest()


def _mids(config: DownloadConfig, files: Annotations) -> dict[str, str]:
    """Return the MID of each class that the configuration names."""
    known = read_classes(str(files.classes))
    wanted = [*config.classes, *(name for names in config.balance.values() for name in names)]
    if unknown := [name for name in wanted if name not in known]:
        raise ConfigurationError(
            f"The class descriptions have no class {', '.join(map(repr, unknown))}.",
            "Correct the parameters `classes` and `balance`; class names are case-sensitive.",
        )
    return {name: known[name] for name in wanted}


def _candidates(
    boxes: Path, config: DownloadConfig, mids: Mapping[str, str], held: Collection[str]
) -> dict[str, tuple[str, ...]]:
    """Return the labels of each image that can be picked, in the order of picking."""
    classes = [mids[name] for name in config.classes]
    label_of = {mids[name]: label for label, names in config.balance.items() for name in names}
    rows = read_text(boxes)
    for flag in FLAGS_LEFT_OUT:
        rows = rows.filter(pl.col(flag).ne_missing("1"))
    query = (
        rows.filter(pl.col("LabelName").is_in([*classes, *label_of]))
        .group_by("ImageID")
        .agg(
            pl.col("LabelName").is_in(classes).any().alias("wanted"),
            pl.col("LabelName").replace_strict(label_of, default=None, return_dtype=pl.String).unique().alias("labels"),
        )
        .filter(pl.col("wanted"))
        .select("ImageID", "labels")
    )
    found = collect(query, boxes)
    there = held if isinstance(held, set) else set(held)
    pairs = {
        image: tuple(sorted(label for label in labels if label))
        for image, labels in found.iter_rows()
        if image not in there
    }
    chosen = [image for image, labels in pairs.items() if labels or not config.balance]
    return {image: pairs[image] for image in sorted(chosen, key=order)}


def _first(found: Iterable[str], number: int) -> list[str]:
    return list(found)[:number]


def _balanced(found: Mapping[str, Sequence[str]], number: int, labels: Sequence[str]) -> list[str]:
    """Pick image after image, each for the label that has the fewest so far; stop when that label has no more."""
    queues = {label: deque(image for image, own in found.items() if label in own) for label in labels}
    counts: Counter[str] = Counter()
    picked: dict[str, None] = {}
    while len(picked) < number:
        label = min(labels, key=lambda label: counts[label])
        while queues[label] and queues[label][0] in picked:
            queues[label].popleft()
        if not queues[label]:
            break
        image = queues[label].popleft()
        picked[image] = None
        counts.update(found[image])
    return list(picked)


def read_text(file: Path) -> pl.LazyFrame:
    """Open a CSV file whose values stay as they are written; an empty one is null."""
    return pl.scan_csv(file, infer_schema=False)


def collect(query: pl.LazyFrame, file: Path) -> pl.DataFrame:
    """Run a query on a file, in a stream, so that large files fit in memory.

    Raises:
        DataError: The file is not the CSV file that was expected.
    """
    try:
        return query.collect(engine="streaming")
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{file} cannot be read: {error}", "Remove it, so that it is fetched again.") from error
