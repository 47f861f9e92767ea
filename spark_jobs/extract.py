"""extract: type and check the annotation files of a delivery, and keep the rows of the configured classes.

Writes the tables `classes`, `labels`, `boxes`, `images`, `miap` if the delivery has MIAP files, and `held` if the
delivery is dated. `held` lists the images that have rows in the delivery, so that a later delivery can replace the rows
of an earlier one. `quarantine` lists the values that break the data contract. Spark divides the files into byte ranges;
`spark_jobs.ranges` reads each range once, writes its kept rows and counts all of its rows.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from ml import storage
from ml.config.training import TrainingConfig
from ml.errors import DataError
from ml.features.outputs import OUTPUTS
from ml.flow.records import (
    BoxCounts,
    ClassCount,
    ExtractRecord,
    ImageCounts,
    LabelCounts,
    MiapCounts,
    NullCounts,
    PublishedDifference,
    QuarantineCounts,
)
from ml.release.contract import QUARANTINE, differences
from ml.release.csv_blocks import Range, divide
from ml.release.delivery import HELD
from ml.release.release import Release, read_classes
from ml.workflow.execution import Context, Result
from spark_jobs.annotations import Classes, Counts, Verdicts
from spark_jobs.main import main
from spark_jobs.quarantine import Placed, check_quarantine, gather, place_blocks, to_parquet
from spark_jobs.ranges import Plan, extract_ranges, part_name

log = logging.getLogger(__name__)


def run(spark: SparkSession, context: Context) -> Result:
    """Read, type, check and count the files of a delivery, and keep the rows of the configured classes."""
    config, release, delivery = context.config, context.release, context.delivery
    assert delivery is not None  # the stage runs once per delivery
    names = read_classes(release.classes)
    classes = describe(names, config)
    storage.write_bytes(context.path("classes", "part-0.parquet"), class_table(classes))
    started = time.monotonic()
    plan = Plan(
        ranges=tuple(divide(release.tables)),
        classes=classes,
        uri=context.uri,
        delivery=delivery.name,
        held=delivery.date is not None,
        all_classes=release.all_classes,
    )
    placed = extract(spark, plan, release)
    log.info("read %d ranges in %.1f s", len(plan.ranges), time.monotonic() - started)

    counts = {table: Counts() for table in release.tables}
    for place in placed:
        counts[place.part.table].add(place.block.counts)
    broken = gather(placed, counts)
    quarantine = context.path(QUARANTINE, "part-0.parquet")
    storage.write_bytes(quarantine, to_parquet(broken))
    check_quarantine(counts, broken, config, quarantine)
    record = make_record(counts, release, unlike_published(placed, release))
    if len(context.run.deliveries) == 1:  # with several, another delivery may hold what this one lacks
        check_not_empty(record, config)
    by_class = images_by_class([place.block.verdicts for place in placed], names)
    storage.write_json(context.path("images_by_class.json"), [row.json_values() for row in by_class])
    return Result(record, make_ledger(record, counts))


# --- reading


def describe(names: Mapping[str, str], config: TrainingConfig) -> Classes:
    """Return the described classes, given the MID of each name."""
    return Classes(
        mids=tuple(names.values()),
        names=tuple(names),
        labels=tuple(config.label_classes.get(name) for name in names),
        chipped=tuple(name == config.chip_class for name in names),
    )


def class_table(classes: Classes) -> bytes:
    """Return the table `classes` as Parquet bytes, with columns mid, name, label (or NULL) and chipped."""
    columns = {"mid": classes.mids, "name": classes.names, "label": classes.labels, "chipped": classes.chipped}
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, OUTPUTS["extract", "classes"].schema()), buffer)
    return bytes(buffer.getvalue())


def extract(spark: SparkSession, plan: Plan, release: Release) -> list[Placed]:
    """Extract all ranges, and read the files whose quotes do not allow for ranges again as a whole.

    Raises:
        DataError: A file is no CSV.
    """
    results = extract_ranges(spark, plan)
    torn = {plan.ranges[result.place].uri for result in results if result.odd_quotes}
    ranges, kept = list(plan.ranges), results
    if torn:
        why = "quoted fields hold line breaks or quotes are misplaced"
        log.info("read as a whole, since %s: %s", why, ", ".join(sorted(torn)))
        again = dataclasses.replace(plan, ranges=whole_files(plan.ranges, torn))
        _remove_parts(plan, torn)
        ranges = [part for part in plan.ranges if part.uri not in torn] + list(again.ranges)
        kept = [result for result in results if plan.ranges[result.place].uri not in torn]
        kept += extract_ranges(spark, again)
    for part, result in zip(ranges, kept, strict=True):
        if result.unreadable:
            raise DataError(f"{part.uri} cannot be read as CSV: {result.unreadable}", "Download the file again.")
    return _in_order(place_blocks(ranges, kept, release.uri), plan.ranges)


def whole_files(ranges: Sequence[Range], uris: set[str]) -> tuple[Range, ...]:
    """Return one range for each of the files, in place of all of its ranges."""
    first = {part.uri: part for part in reversed(ranges) if part.uri in uris}
    ends = {part.uri: part.end for part in ranges}
    return tuple(dataclasses.replace(part, end=ends[uri], whole=True) for uri, part in first.items())


def _remove_parts(plan: Plan, uris: set[str]) -> None:
    """Remove what the tasks wrote for the ranges of files that are read again."""
    for part in plan.ranges:
        if part.uri in uris:
            storage.remove(storage.join(plan.uri, part.table, part_name(part)))
            storage.remove(storage.join(plan.uri, HELD, f"{part.table}-{part_name(part)}"))


def _in_order(placed: list[Placed], ranges: Sequence[Range]) -> list[Placed]:
    tables = list(dict.fromkeys(part.table for part in ranges))
    return sorted(placed, key=lambda place: (tables.index(place.part.table), place.part.number, place.line))


# --- counting


def make_record(
    counts: Mapping[str, Counts], release: Release, unlike: tuple[PublishedDifference, ...]
) -> ExtractRecord:
    """Build the record from the counts by table.

    Args:
        counts: The counts.
        release: The delivery's files.
        unlike: The row counts that differ from the published ones.
    """
    labels, boxes, images = counts["labels"], counts["boxes"], counts["images"]
    return ExtractRecord(
        rows={table: seen.rows for table, seen in counts.items()},
        nulls={
            table: {column: NullCounts(**missing._asdict()) for column, missing in seen.missing.items()}
            for table, seen in counts.items()
        },
        labels=LabelCounts(
            repeated=labels.repeated,
            no_verdict=labels.no_verdict,
            unknown_class=labels.unknown_class,
            other_classes=labels.other_classes,
        ),
        boxes=BoxCounts(
            unknown_class=boxes.unknown_class,
            invalid=boxes.invalid,
            kept=boxes.kept,
            kept_invalid=boxes.kept_invalid,
            chipped=boxes.chipped,
        ),
        images=ImageCounts(rotation_unknown=images.rotation_unknown, turned=images.turned),
        quarantined={
            table: QuarantineCounts(rows=seen.quarantined, by_rule=dict(sorted(seen.by_rule.items())))
            for table, seen in counts.items()
        },
        unlike_published=unlike,
        miap=miap_counts(counts["miap"], release) if "miap" in counts else None,
    )


def miap_counts(people: Counts, release: Release) -> MiapCounts:
    """Build the counts of MIAP's boxes."""
    return MiapCounts(
        subsets=tuple(release.tables["miap"]),
        other_classes=people.other_classes,
        kept=people.kept,
        kept_invalid=people.kept_invalid,
        no_gender_presentation=people.no_gender_presentation,
        no_age_presentation=people.no_age_presentation,
    )


def make_ledger(record: ExtractRecord, counts: Mapping[str, Counts]) -> dict[str, int]:
    """Count all boxes by kind of class, and the rows of every table that break the contract, by rule."""
    boxes, total = record.boxes, record.rows["boxes"]
    nameless = counts["boxes"].without_class
    ledger = {
        "boxes of the classes that matter": boxes.kept,
        "boxes of other classes": total - boxes.kept - boxes.unknown_class - nameless,
        "boxes of unknown classes": boxes.unknown_class,
        "boxes without a class": nameless,
    }
    for table, found in record.quarantined.items():
        ledger |= {f"quarantined {table}: {rule}": rows for rule, rows in found.by_rule.items()}
    return ledger


def unlike_published(placed: Sequence[Placed], release: Release) -> tuple[PublishedDifference, ...]:
    """Compare the row counts with the published ones, if the release looks like the published one, and warn.

    Tables with a file whose published number of rows is not known are not compared.
    """
    rows: dict[str, dict[str, int]] = {}
    unknown = {place.part.table for place in placed if place.part.uri not in release.counted}
    for place in placed:
        if place.part.table in unknown:
            continue
        by_subset = rows.setdefault(place.part.table, {})
        by_subset[place.part.subset] = by_subset.get(place.part.subset, 0) + place.block.counts.rows
    found = differences(rows)
    for table, subset, here, published in found:
        log.warning("table %s, %s: %s rows, but Open Images V5 has %s", table, subset, f"{here:,}", f"{published:,}")
    return tuple(
        PublishedDifference(table=table, subset=subset, rows=here, published=published)
        for table, subset, here, published in found
    )


def images_by_class(counted: Sequence[Verdicts], names: Mapping[str, str]) -> list[ClassCount]:
    """Count for each class the images verified positive and negative, most positive first.

    Args:
        counted: The counts of each block by MID.
        names: Class name to MID.
    """
    by_mid = {mid: name for name, mid in names.items()}
    sums: dict[str, tuple[int, int]] = {}
    for verdicts in counted:
        for mid, (positive, negative) in verdicts.items():
            before = sums.get(mid, (0, 0))
            sums[mid] = (before[0] + positive, before[1] + negative)
    rows = [
        ClassCount(mid=mid, name=by_mid.get(mid, mid), positive=positive, negative=negative)
        for mid, (positive, negative) in sums.items()
    ]
    return sorted(rows, key=lambda row: (-row.positive, row.name))


# --- checking


def check_not_empty(record: ExtractRecord, config: TrainingConfig) -> None:
    """Check that no table is empty and that there are faces.

    Args:
        record: The counts of one delivery, or of all deliveries together.
        config: The run's configuration.

    Raises:
        DataError: A table has no rows, or no box is of the chipped class.
    """
    for table, rows in record.rows.items():
        if not rows:
            raise DataError(f"Table {table} of the release has no rows.", "Download its CSV files again.")
    if not record.boxes.chipped:
        raise DataError(
            f"The release has no box of class {config.chip_class!r}.", "Check the files, or the parameter chip_class."
        )


if __name__ == "__main__":
    main("extract", run)
