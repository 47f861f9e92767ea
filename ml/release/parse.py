"""Parse a block of a table's CSV lines into typed columns, and count missing values by kind.

A block in which every value converts is parsed at the speed of Arrow's reader. If a value does not convert, the block
is parsed again as bytes, and converted column by column with a note of the values that do not convert.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from ml.release.contract import Kind, SourceTable

Mask = npt.NDArray[np.bool_]
NUMBER = r"^-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|^-?(?i:nan|inf|infinity)$"
NUMBERS = (Kind.NUMBER, Kind.FLAG)
BLANK = ord(" ")  # this byte and those below it are white space or control characters


class Missing(NamedTuple):
    """Missing values of a column: NULL (an empty field), empty or blank text, and NaN."""

    null: int
    empty: int
    nan: int

    def plus(self, other: Missing) -> Missing:
        """Return the sums."""
        return Missing(*(mine + its for mine, its in zip(self, other, strict=True)))


# The types as which a block without faults is read.
ARROW = {
    Kind.IMAGE_ID: pa.string(),
    Kind.CLASS: pa.dictionary(pa.int32(), pa.string()),
    Kind.ANY_CLASS: pa.dictionary(pa.int32(), pa.string()),
    Kind.NUMBER: pa.float64(),
    Kind.FLAG: pa.int8(),
    Kind.WORD: pa.dictionary(pa.int32(), pa.string()),
    Kind.TEXT: pa.string(),
}


@dataclass(frozen=True)
class Parsed:
    """The typed columns of a block.

    Attributes:
        rows: Number of rows, without the lines that have the wrong number of fields.
        columns: The columns by published name.
        missing: Missing values by column.
        wrong_lines: Number of lines with the wrong number of fields.
        not_numbers: By column, the rows whose value is not a number. The column is NULL there.
        not_utf8: By column, the rows whose value is not UTF-8. The column has replacement characters there.
    """

    rows: int
    columns: dict[str, pa.Array]
    missing: dict[str, Missing]
    wrong_lines: int = 0
    not_numbers: dict[str, Mask] = field(default_factory=dict)
    not_utf8: dict[str, Mask] = field(default_factory=dict)


def parse(block: bytes, names: Sequence[str], table: SourceTable) -> Parsed:
    """Parse a block.

    Args:
        block: Whole lines, without a header.
        names: The names in the file's header.
        table: The contract of the table. Further columns are read as text.

    Raises:
        pa.ArrowInvalid: The block is no CSV at all.
    """
    kinds = {column.name: column.kind for column in table.columns}
    types = {name: ARROW[kinds.get(name, Kind.TEXT)] for name in names}
    if not block:
        empty = {name: pa.array([], kind) for name, kind in types.items()}
        return Parsed(0, empty, {name: Missing(0, 0, 0) for name in names})
    try:
        columns, wrong = _read(block, types)
    except pa.ArrowInvalid:
        columns, wrong = _read(block, dict.fromkeys(names, pa.binary()))
        return _convert(columns, wrong, kinds)
    return Parsed(_rows(columns), columns, {name: _missing(column) for name, column in columns.items()}, wrong)


def _rows(columns: dict[str, pa.Array]) -> int:
    return len(next(iter(columns.values())))


def _read(block: bytes, types: dict[str, pa.DataType]) -> tuple[dict[str, pa.Array], int]:
    """Read a block's columns, and count the lines with the wrong number of fields, which are left out."""
    wrong = 0

    def skip(row: object) -> str:
        nonlocal wrong
        wrong += 1
        return "skip"

    quotes = b'"' in block
    table = pyarrow.csv.read_csv(
        pa.BufferReader(block),
        pyarrow.csv.ReadOptions(use_threads=False, column_names=list(types), block_size=len(block) + 1),
        pyarrow.csv.ParseOptions(
            quote_char='"' if quotes else False,  # a sixth faster without
            newlines_in_values=quotes,
            invalid_row_handler=skip,
        ),
        pyarrow.csv.ConvertOptions(
            column_types=types, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )
    columns = {name: table.column(name).unify_dictionaries().combine_chunks() for name in types}
    return columns, wrong


def _convert(columns: dict[str, pa.Array], wrong: int, kinds: dict[str, Kind]) -> Parsed:
    """Convert columns of bytes, and note the values that do not convert."""
    parsed = Parsed(_rows(columns), {}, {}, wrong)
    for name, raw in columns.items():
        text, faulty = _decode(raw)
        if faulty is not None:
            parsed.not_utf8[name] = faulty
        parsed.missing[name] = _missing(text)
        kind = kinds.get(name, Kind.TEXT)
        if kind in NUMBERS:
            parsed.columns[name], parsed.not_numbers[name] = _numbers(text)
        else:
            parsed.columns[name] = text.cast(pa.string()).dictionary_encode() if _is_coded(ARROW[kind]) else text
    return parsed


def _is_coded(kind: pa.DataType) -> bool:
    return bool(pa.types.is_dictionary(kind))


def _decode(raw: pa.Array) -> tuple[pa.Array, Mask | None]:
    """Decode UTF-8, and return a mask of the values that are not, if there are any."""
    try:
        return raw.cast(pa.string()), None
    except pa.ArrowInvalid:
        values = raw.to_pylist()
    texts = [None if value is None else value.decode("utf-8", "replace") for value in values]
    faulty = [value is not None and text.encode() != value for value, text in zip(values, map(str, texts), strict=True)]
    return pa.array(texts, pa.string()), np.array(faulty)


def _numbers(text: pa.Array) -> tuple[pa.Array, Mask]:
    """Convert text to numbers; return a mask of the values, other than missing ones, that are not numbers."""
    trimmed = pc.utf8_trim_whitespace(text)
    good = pc.fill_null(pc.match_substring_regex(trimmed, NUMBER), False)
    bad = pc.and_(pc.invert(good), pc.fill_null(pc.not_equal(trimmed, ""), False))
    numbers = pc.if_else(good, trimmed, pa.scalar(None, pa.string())).cast(pa.float64())
    return numbers, mask_of(bad)


def mask_of(values: pa.BooleanArray) -> Mask:
    """Return a Boolean array without NULLs as a mask."""
    return np.asarray(values.to_numpy(zero_copy_only=False), np.bool_)


# --- missing values


def _missing(column: pa.Array) -> Missing:
    """Count a column's missing values by kind."""
    if pa.types.is_floating(column.type):
        values = column.drop_null() if column.null_count else column
        return Missing(column.null_count, 0, int(np.isnan(values.to_numpy()).sum()))
    if pa.types.is_dictionary(column.type):
        codes = column.indices.drop_null().to_numpy()
        blank, nan = (int(found[codes].sum()) if found.any() else 0 for found in _blank_or_nan(column.dictionary))
        return Missing(column.null_count, blank, nan)
    if pa.types.is_string(column.type):
        blank, nan = (int(found.sum()) for found in _blank_or_nan(_candidates(column)))
        return Missing(column.null_count, blank, nan)
    return Missing(column.null_count, 0, 0)


def _candidates(column: pa.Array) -> pa.Array:
    """Select the few values that may be empty, blank or NaN by their length and their first and last bytes."""
    offsets = offsets_of(column)
    lengths = np.diff(offsets)
    data = np.frombuffer(column.buffers()[2] or b"", np.uint8)
    maybe = lengths == 0
    filled = np.flatnonzero(~maybe)
    first, last = data[offsets[:-1][filled]], data[offsets[1:][filled] - 1]
    short = (lengths[filled] == 3) & ((first | BLANK) == ord("n"))
    maybe[filled] = short | (first <= BLANK) | (last <= BLANK)
    if column.null_count:
        maybe &= mask_of(column.is_valid())
    return column.filter(pa.array(maybe)) if maybe.any() else column.slice(0, 0)


def _blank_or_nan(values: pa.Array) -> tuple[Mask, Mask]:
    """Return masks of the values that are empty or blank, and of those that read NaN."""
    if not len(values):
        return np.zeros(0, np.bool_), np.zeros(0, np.bool_)
    trimmed = pc.utf8_lower(pc.utf8_trim_whitespace(values))
    return mask_of(pc.equal(trimmed, "")), mask_of(pc.equal(trimmed, "nan"))


def offsets_of(column: pa.Array) -> npt.NDArray[np.int32]:
    """Return the offsets of a string column's values in its data."""
    buffer = column.buffers()[1]
    if buffer is None or not len(column):
        return np.zeros(1, np.int32)
    return np.frombuffer(buffer, np.int32)[column.offset : column.offset + len(column) + 1]
