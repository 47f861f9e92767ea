"""The tasks of extract: each reads one range of a file, writes its kept rows, and returns counts and faulty values.

The rows go from the CSV file to the Parquet file inside one Python process, as Arrow columns. A part has the same name
and the same content whichever attempt of a task writes it, so that a task can be repeated.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from ml import storage
from ml.release.checks import Checked, check
from ml.release.contract import Rule, contract_of
from ml.release.csv_blocks import OddQuotesError, Range, count_lines, find_records, read_blocks
from ml.release.delivery import HELD
from ml.release.parse import Parsed, parse
from ml.release.release import DAMAGES
from spark_jobs.annotations import Classes, Counts, Verdicts, held_images, type_block

QUARANTINED_ROWS = 1000  # rows of a block that are listed; all are counted
SMALL_TASK = 8 << 20  # bytes; smaller ranges share a task, because a task costs more than reading them
VALUE_LENGTH = 200  # characters of a faulty value that are kept


@dataclass(frozen=True)
class Plan:
    """What all tasks know.

    Attributes:
        ranges: The ranges of all tables.
        classes: The described classes.
        uri: The attempt folder, where the tasks write.
        delivery: The delivery's name.
        held: Write the table `held` too.
        all_classes: URIs of the files with image-level labels of all classes.
    """

    ranges: tuple[Range, ...]
    classes: Classes
    uri: str
    delivery: str
    held: bool
    all_classes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class FaultyValue:
    """A value that breaks a rule.

    Attributes:
        line: Its line in the block, counted from 0; None if unknown.
        rule: The rule.
        column: Its column, or the columns that the rule compares; None if the rule concerns the whole line.
        value: The value as text.
    """

    line: int | None
    rule: Rule
    column: str | None
    value: str | None


@dataclass(frozen=True)
class BlockResult:
    """What a task returns about a block.

    Attributes:
        lines: Number of lines.
        counts: The counts of its rows.
        verdicts: The verified images by class; only for image-level labels.
        faulty: The values that break a rule, of at most `QUARANTINED_ROWS` rows.
        image_ids: The ImageIDs of all rows, as 64-bit numbers, 0 where invalid; only for images.
    """

    lines: int
    counts: Counts
    verdicts: Verdicts
    faulty: tuple[FaultyValue, ...]
    image_ids: bytes = b""


@dataclass(frozen=True)
class RangeResult:
    """What a task returns.

    Attributes:
        place: The place of the range in the plan.
        blocks: Its blocks.
        odd_quotes: The range begins or ends inside a quoted field, or has a misplaced quote; it was not read.
        unreadable: Why the range is no CSV; None if it is.
    """

    place: int
    blocks: list[BlockResult] = field(default_factory=list)
    odd_quotes: bool = False
    unreadable: str | None = None


def extract_ranges(spark: SparkSession, plan: Plan) -> list[RangeResult]:
    """Extract all ranges of a plan in one job, and return the results in the order of the plan.

    The tasks take nothing from the JVM but their number and give it nothing but their results, so this is an RDD: the
    same job as a DataFrame first spends eight CPU seconds on planning and code generation.
    """
    tasks = divide_work(plan.ranges)
    numbers = spark.sparkContext.parallelize(range(len(tasks)), len(tasks))
    results = numbers.flatMap(lambda task: [extract_range(plan, place) for place in tasks[task]]).collect()
    return sorted(results, key=lambda result: result.place)


def divide_work(ranges: Sequence[Range]) -> list[list[int]]:
    """Divide the ranges among tasks, the longest first: a task for each range, or for several small ones.

    Returns:
        The places of each task's ranges.
    """
    sizes = [part.end - part.start for part in ranges]
    count = max(1, min(len(ranges), math.ceil(sum(sizes) / SMALL_TASK)))
    tasks: list[list[int]] = [[] for _ in range(count)]
    loads = [(0, task) for task in range(count)]
    for place in sorted(range(len(ranges)), key=lambda place: -sizes[place]):
        load, task = heapq.heappop(loads)
        tasks[task].append(place)
        heapq.heappush(loads, (load + sizes[place], task))
    return tasks


def extract_range(plan: Plan, place: int) -> RangeResult:
    """Read a range, write its kept rows, and return counts and faulty values."""
    part, blocks = plan.ranges[place], []
    try:
        for number, block in enumerate(read_blocks(part)):
            blocks.append(_extract_block(plan, part, number, block))
    except OddQuotesError:
        return RangeResult(place, odd_quotes=True)
    except (pa.ArrowInvalid, *DAMAGES) as error:
        return RangeResult(place, unreadable=str(error))
    return RangeResult(place, blocks)


def part_name(part: Range, block: int = 0) -> str:
    """Return the name of a block's Parquet file."""
    return f"part-{part.number:05d}-{block:04d}.parquet"


def _extract_block(plan: Plan, part: Range, number: int, block: bytes) -> BlockResult:
    table = contract_of(part.table, part.subset, part.uri in plan.all_classes)
    parsed = parse(block, part.columns, table)
    checked = check(parsed, table, pa.array(plan.classes.mids, pa.string()))
    typed = type_block(part.table, parsed, checked, plan.classes, part.subset, plan.delivery)
    _write(storage.join(plan.uri, part.table, part_name(part, number)), typed.rows)
    if plan.held:
        name = f"{part.table}-{part_name(part, number)}"
        _write(storage.join(plan.uri, HELD, name), held_images(parsed, part.table, plan.delivery))
    return BlockResult(
        lines=count_lines(block),
        counts=typed.counts,
        verdicts=typed.verdicts,
        faulty=tuple(faulty_values(block, part.columns, parsed, checked)),
        image_ids=checked.image_ids.tobytes() if table.unique else b"",
    )


def _write(uri: str, rows: pa.Table) -> None:
    """Write rows as Parquet, completely or not at all."""
    buffer = pa.BufferOutputStream()
    # Without the Arrow schema every reader sees plain strings where the columns here are coded. The other columns have
    # nearly as many values as rows, except that the rows of an image lie together.
    coded = [column.name for column in rows.schema if pa.types.is_dictionary(column.type)]
    coded += ["image_id"] if "valid" in rows.column_names or "positive" in rows.column_names else []
    pq.write_table(rows, buffer, use_dictionary=coded, store_schema=False)
    storage.write_bytes(uri, buffer.getvalue().to_pybytes())


def faulty_values(
    block: bytes, names: tuple[str, ...], parsed: Parsed, checked: Checked, limit: int = QUARANTINED_ROWS
) -> Iterator[FaultyValue]:
    """Yield the values of a block that break a rule, line by line, of the first rows that have any.

    Args:
        block: The block.
        names: The names in the file's header.
        parsed: The block's columns.
        checked: The faults.
        limit: The greatest number of rows.
    """
    if not checked.faults and not parsed.wrong_lines:
        return
    rows = np.flatnonzero(checked.broken())[:limit].tolist()
    records, others = find_records(block, rows, parsed.rows, len(names))
    found = [
        FaultyValue(record.line, Rule.FIELDS, None, ",".join(record.fields)[:VALUE_LENGTH]) for record in others[:limit]
    ]
    for row in rows:
        record = records.get(row)
        for fault in checked.faults:
            if not fault.rows[row]:
                continue
            values = dict(zip(names, record.fields, strict=True)) if record else {}
            shown = [values.get(name, "") for name in fault.columns or names]
            found.append(
                FaultyValue(
                    record.line if record else None,
                    fault.rule,
                    ",".join(fault.columns) or None,
                    ",".join(shown)[:VALUE_LENGTH] if record else None,
                )
            )
    yield from sorted(found, key=lambda value: -1 if value.line is None else value.line)
