"""Divide the CSV files of a release into byte ranges, and read a range as a block of whole lines.

A range holds the lines that begin in it. Its size is fixed, so that the same files give the same blocks on any machine.
A compressed file, and one whose quoted fields hold line breaks, is read from its start to its end instead, in blocks of
about the same size. A range with an odd number of quotes betrays such a file: outside of a quoted field, the quotes up
to the end of a line are even in number. That holds unless a quote is where no CSV writer puts one, as in `5" disc`.
Such a file is read as Python's `csv` reads it, and written again with the quotes in their places.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO

import numpy as np

from ml import storage
from ml.release.release import header

# Memory of less than 32 MB is used again after it is freed. Larger blocks come from the system each time, page by page,
# which costs a quarter of the time that typing them takes in all.
RANGE_BYTES = 16 << 20
PIECE = 64 << 10
FIELD_BYTES = 1 << 30  # an unmatched quote makes one field of all that follows
BESIDE_QUOTES = np.isin(np.arange(256), list(b',"\r\n'))  # by byte


class OddQuotesError(Exception):
    """A range begins or ends inside a quoted field, or has a misplaced quote: its file must be read as a whole."""


@dataclass(frozen=True)
class Range:
    """A part of a table's file.

    Attributes:
        table: The table.
        subset: The subset that the file holds, or `ml.release.layout.ALL`.
        uri: The file.
        columns: The names in the file's header.
        number: The range's place among all ranges of the table.
        start: The first byte.
        end: The byte after the last one.
        whole: The range is the whole file, to be read from start to end.
    """

    table: str
    subset: str
    uri: str
    columns: tuple[str, ...]
    number: int
    start: int
    end: int
    whole: bool = False


def divide(tables: Mapping[str, Mapping[str, str]], range_bytes: int = RANGE_BYTES) -> list[Range]:
    """Divide the files of all tables into ranges, in the order of tables, subsets and bytes.

    Args:
        tables: URI of the file by table and subset.
        range_bytes: Size of a range.
    """
    found = []
    for table, by_subset in tables.items():
        number = 0
        for subset, uri in by_subset.items():
            size, columns, whole = storage.size(uri), tuple(header(uri)), uri.endswith(".gz")
            for start in range(0, size, size if whole else range_bytes):
                end = size if whole else min(size, start + range_bytes)
                found.append(Range(table, subset, uri, columns, number, start, end, whole))
                number += 1
    return found


def read_blocks(part: Range) -> Iterator[bytes]:
    """Yield the lines of a range, without the file's header: in one block, or in several for a whole file.

    Raises:
        OddQuotesError: The range begins or ends inside a quoted field, or has a misplaced quote.
    """
    if part.whole:
        yield from _whole_file(part.uri)
        return
    block = _lines(part)
    # Most files have no quotes, and `in` is the quicker.
    if b'"' in block and (block.count(b'"') % 2 or has_misplaced_quote(block)):
        raise OddQuotesError(part.uri)
    yield block


def _lines(part: Range) -> bytes:
    """Return the lines that begin in a range, without the file's header."""
    first = max(0, part.start - 1)  # the byte before tells whether a line begins where the range does
    data = storage.read_range(part.uri, first, part.end + PIECE)
    begin = data.find(b"\n") + 1  # after the header, or after the last line of the range before
    if not begin or first + begin >= part.end:
        return b""
    last = part.end - 1 - first
    while not (end := data.find(b"\n", last) + 1):
        last, at = len(data), first + len(data)
        more = storage.read_range(part.uri, at, at + PIECE)
        if not more:
            return data[begin:]
        data += more
    return data[begin:end]


def _whole_file(uri: str) -> Iterator[bytes]:
    with storage.open_plain(uri) as file:
        file.readline()
        rest, empty = b"", True
        while piece := file.read(RANGE_BYTES):
            rest += piece
            if b'"' in rest and has_misplaced_quote(rest):
                yield from _rewritten(rest, file)
                return
            if end := record_end(rest):
                yield rest[:end]
                rest, empty = rest[end:], False
        if rest or empty:
            yield rest


def has_misplaced_quote(data: bytes) -> bool:
    """Return whether a quote neither opens nor closes a whole field, nor belongs to a pair inside a quoted one.

    Args:
        data: Lines of CSV from outside of a quoted field; the last one may be incomplete.
    """
    around = np.frombuffer(b"\n" + data + b"\n", np.uint8)
    pieces = (around[at : at + PIECE] for at in range(0, len(around), PIECE))
    quotes = np.concatenate([np.flatnonzero(piece == ord('"')) + at * PIECE for at, piece in enumerate(pieces)])
    return not (BESIDE_QUOTES[around[quotes[0::2] - 1]].all() and BESIDE_QUOTES[around[quotes[1::2] + 1]].all())


def _rewritten(begun: bytes, file: IO[bytes]) -> Iterator[bytes]:
    """Yield the rest of a file in blocks as Python's `csv` reads it, each field that needs quotes in quotes.

    Args:
        begun: What was read of the rest.
        file: The file after that.
    """
    csv.field_size_limit(FIELD_BYTES)
    line, text = begun + file.readline(), io.StringIO(newline="")
    lines = itertools.chain(line.splitlines(keepends=True), file)
    writer = csv.writer(text, lineterminator="\n")
    for fields in csv.reader(line.decode("utf-8", "surrogateescape") for line in lines):
        writer.writerow(fields)
        if text.tell() >= RANGE_BYTES:
            yield text.getvalue().encode("utf-8", "surrogateescape")
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode("utf-8", "surrogateescape")


def record_end(data: bytes) -> int:
    """Return the end of the last line that does not end inside a quoted field, or 0 if there is none."""
    end = data.rfind(b"\n") + 1
    quotes = data.count(b'"', 0, end)
    while end and quotes % 2:
        before = data.rfind(b"\n", 0, end - 1) + 1
        quotes -= data.count(b'"', before, end)
        end = before
    return end


def count_lines(block: bytes) -> int:
    """Count the lines of a block; the last one may lack its line break."""
    data = np.frombuffer(block, np.uint8)
    # Several times quicker than bytes.count, and than all at once, because a piece stays in the processor's cache.
    pieces = (data[at : at + PIECE] for at in range(0, len(data), PIECE))
    breaks = sum(int(np.count_nonzero(piece == ord("\n"))) for piece in pieces)
    return breaks + bool(block and not block.endswith(b"\n"))


@dataclass(frozen=True)
class Record:
    """A record of a block as text.

    Attributes:
        line: The number of its first line, counted from 0 at the block's start.
        fields: Its fields.
    """

    line: int
    fields: list[str]


def find_records(block: bytes, rows: Iterable[int], total: int, width: int) -> tuple[dict[int, Record], list[Record]]:
    """Find records of a block by row, as text.

    Args:
        block: The block.
        rows: The wanted rows. Rows are the records with the right number of fields, counted from 0.
        total: The number of rows of the block.
        width: The right number of fields.

    Returns:
        The wanted records by row, and all records with another number of fields.
    """
    if b'"' not in block and total == count_lines(block):
        ends = np.append(np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")), len(block))
        starts = np.concatenate([[0], ends + 1])
        lines = {row: block[starts[row] : ends[row]].decode("utf-8", "replace") for row in rows}
        return {row: Record(row, line.rstrip("\r").split(",")) for row, line in lines.items()}, []
    wanted, found, others, row = set(rows), {}, [], 0
    for record in _records(block):
        if len(record.fields) != width:
            others.append(record)
            continue
        if row in wanted:
            found[row] = record
        row += 1
    return found, others


def _records(block: bytes) -> Iterator[Record]:
    """Yield all records of a block, without empty lines."""
    csv.field_size_limit(FIELD_BYTES)
    lines = csv.reader(io.StringIO(block.decode("utf-8", "replace"), newline=""))
    line = 0
    for fields in lines:
        if fields:
            yield Record(line, fields)
        line = lines.line_num
