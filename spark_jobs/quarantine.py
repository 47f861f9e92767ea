"""Gather the rows that break the data contract, write them to the table `quarantine`, and stop if they are too many."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ml.config.training import TrainingConfig
from ml.errors import DataError
from ml.features.outputs import OUTPUTS
from ml.release.contract import QUARANTINE, TABLES, Rule
from ml.release.csv_blocks import Range
from spark_jobs.annotations import Counts
from spark_jobs.ranges import BlockResult, RangeResult

EXAMPLES = 3
SCHEMA = OUTPUTS["extract", QUARANTINE].schema()


@dataclass(frozen=True)
class Quarantined:
    """A row of the table `quarantine`: a value that breaks a rule. `line` counts from 1 and includes the header."""

    table: str
    file: str
    line: int | None
    rule: str
    column: str | None
    value: str | None

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}, line {self.line}"
        return f"{place}: {self.column or 'the line'} is {self.value!r}"


@dataclass(frozen=True)
class Placed:
    """A block with its place in its file.

    Attributes:
        part: The block's range.
        file: The file's path in the release.
        line: The number of the block's first line.
        block: What the task returned about it.
    """

    part: Range
    file: str
    line: int
    block: BlockResult


def place_blocks(ranges: Sequence[Range], results: Sequence[RangeResult], root: str) -> list[Placed]:
    """Give each block its file and the number of its first line.

    Args:
        ranges: The ranges, in order.
        results: Their results, in the same order.
        root: URI of the release.
    """
    placed = []
    next_line: dict[str, int] = {}
    for part, result in zip(ranges, results, strict=True):
        for block in result.blocks:
            line = next_line.get(part.uri, 2)  # after the header
            placed.append(Placed(part, part.uri.removeprefix(root).lstrip("/"), line, block))
            next_line[part.uri] = line + block.lines
    return placed


def gather(placed: Sequence[Placed], counts: Mapping[str, Counts]) -> list[Quarantined]:
    """Gather the faulty values of all blocks and the repeated keys, by table, file and line.

    Args:
        placed: The blocks, in order.
        counts: The counts by table, to which the repeated keys are added.
    """
    found = [
        Quarantined(
            place.part.table,
            place.file,
            None if value.line is None else place.line + value.line,
            value.rule,
            value.column,
            value.value,
        )
        for place in placed
        for value in place.block.faulty
    ]
    for table in dict.fromkeys(place.part.table for place in placed):
        if TABLES[table].unique:
            repeated = list(_repeated([place for place in placed if place.part.table == table]))
            if repeated:
                counts[table].by_rule[Rule.REPEATED] += len(repeated)
                counts[table].quarantined += len(repeated)
                found += repeated
    order = {file: number for number, file in enumerate(dict.fromkeys(place.file for place in placed))}
    return sorted(found, key=lambda row: (order[row.file], row.line or 0))


def _repeated(placed: Sequence[Placed]) -> Iterator[Quarantined]:
    """Yield the rows whose ImageID an earlier row has."""
    blocks = [np.frombuffer(place.block.image_ids, np.uint64) for place in placed]
    ids = np.concatenate(blocks) if blocks else np.zeros(0, np.uint64)
    order = np.argsort(ids, kind="stable")
    again = order[1:][(ids[order][1:] == ids[order][:-1]) & (ids[order][1:] != 0)]
    starts = np.cumsum([0, *map(len, blocks)])
    for row in np.sort(again).tolist():
        number = int(np.searchsorted(starts, row, side="right")) - 1
        place = placed[number]
        # Rows are lines only if no line was left out and none was broken by a quoted field.
        line = place.line + row - int(starts[number]) if len(blocks[number]) == place.block.lines else None
        yield Quarantined(place.part.table, place.file, line, Rule.REPEATED, "ImageID", f"{ids[row]:016x}")


def to_parquet(rows: Sequence[Quarantined]) -> bytes:
    """Return the table `quarantine` as Parquet bytes."""
    buffer = pa.BufferOutputStream()
    columns = {name: [getattr(row, name) for row in rows] for name in SCHEMA.names}
    pq.write_table(pa.table(columns, SCHEMA), buffer)
    return bytes(buffer.getvalue())


def check_quarantine(
    counts: Mapping[str, Counts], rows: Sequence[Quarantined], config: TrainingConfig, uri: str
) -> None:
    """Check that the share of rows that break the contract is at most `max_fault_share` in every table.

    The boxes that the run uses may be few among all, so the invalid ones among them are compared with these, too.

    Args:
        counts: The counts by table.
        rows: The table `quarantine`.
        config: The run's configuration.
        uri: URI of the table `quarantine`.

    Raises:
        DataError: The share is larger.
    """
    for table, seen in counts.items():
        if seen.quarantined > config.max_fault_share * seen.rows:
            what = f"{seen.quarantined} of {seen.rows} rows"
        elif seen.kept_invalid > config.max_fault_share * seen.kept:
            what = f"{seen.kept_invalid} of {seen.kept} rows of the classes used"
        else:
            continue
        rule, number = _commonest(seen.by_rule)
        examples = (str(row) for row in rows if (row.table, row.rule) == (table, rule))
        shown = "; ".join(itertools.islice(examples, EXAMPLES))
        raise DataError(
            f"Table {table}: {what} break the data contract, more than max_fault_share = {config.max_fault_share:g} "
            f"allows. The rule broken most is `{rule}` ({number} rows). {shown}.",
            f"{uri} lists the rows, docs/data-contract.md explains the rules. Correct or download the files again, or "
            "raise max_fault_share.",
        )


def _commonest(by_rule: Counter[str]) -> tuple[str, int]:
    return max(by_rule.items(), key=lambda item: (item[1], item[0]))
