"""Check the rows of a parsed block against the data contract, a column at a time."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ml.release.contract import Kind, Rule, SourceColumn, SourceTable
from ml.release.parse import NUMBERS, Mask, Parsed, mask_of, offsets_of

DIGITS = 16  # of an ImageID
NO_DIGIT = 0xFF
CLASSES = (Kind.CLASS, Kind.ANY_CLASS)
UNKNOWN = -1  # index of a class that is not described


def _hex_values() -> npt.NDArray[np.uint8]:
    values = np.full(256, NO_DIGIT, np.uint8)
    for value, digit in enumerate(b"0123456789abcdef"):
        values[digit] = value
    return values


HEX = _hex_values()
HIGH_HALVES = np.uint64(0xF0F0_F0F0_F0F0_F0F0)


@dataclass(frozen=True)
class Fault:
    """The rows that break a rule.

    Attributes:
        rule: The rule.
        columns: The columns that the rule concerns; none if it concerns the whole line.
        rows: A mask of the rows.
    """

    rule: Rule
    columns: tuple[str, ...]
    rows: Mask


@dataclass
class Checked:
    """What the checks found in a block.

    Attributes:
        rows: Number of rows.
        image_ids: Each ImageID as a number, 0 where it is not valid.
        classes: Each row's index among the described classes, `UNKNOWN` where it has none.
        other_classes: A mask of the rows whose class is not described and need not be.
        faults: The faults.
    """

    rows: int
    image_ids: npt.NDArray[np.uint64]
    classes: npt.NDArray[np.int32]
    other_classes: Mask
    faults: list[Fault] = field(default_factory=list)

    def add(self, rule: Rule, rows: Mask, *columns: str) -> None:
        """Note the rows that break a rule, if there are any."""
        if rows.any():
            self.faults.append(Fault(rule, columns, rows))

    def broken(self, columns: Collection[str] = (), rule: Rule | None = None) -> Mask:
        """Return a mask of the rows that break any rule, a rule on one of these columns, or this rule."""
        found = np.zeros(self.rows, np.bool_)
        for fault in self.faults:
            if rule in (None, fault.rule) and (not columns or not fault.columns or set(fault.columns) & set(columns)):
                found |= fault.rows
        return found


def check(parsed: Parsed, table: SourceTable, classes: pa.Array) -> Checked:
    """Check a block.

    Args:
        parsed: The block.
        table: The table's contract.
        classes: The MIDs of the described classes.
    """
    ids, valid = image_numbers(parsed.columns["ImageID"])
    checked = Checked(
        parsed.rows, ids, np.full(parsed.rows, UNKNOWN, np.int32), other_classes=np.zeros(parsed.rows, np.bool_)
    )
    heading = _headings(parsed.columns["ImageID"], valid)
    checked.add(Rule.HEADER, heading)
    rest = ~heading
    for name, rows in parsed.not_utf8.items():
        checked.add(Rule.ENCODING, rows & rest, name)
    for column in table.columns:
        if column.name not in parsed.columns:
            continue
        values = parsed.columns[column.name]
        missing = _missing(values) & rest if column.filled else np.zeros(parsed.rows, np.bool_)
        if column.filled and column.name in parsed.not_numbers:
            missing &= ~parsed.not_numbers[column.name]
        checked.add(Rule.MISSING, missing, column.name)
        if column.kind is Kind.IMAGE_ID:
            checked.add(Rule.IMAGE_ID, ~valid & ~missing & rest, column.name)
        elif column.kind in CLASSES:
            checked.classes = class_indices(values, classes)
            undescribed = (checked.classes == UNKNOWN) & ~missing & rest
            if column.kind is Kind.CLASS:
                checked.add(Rule.CLASS, undescribed, column.name)
            else:
                checked.other_classes = undescribed
        elif column.kind in NUMBERS:
            _check_numbers(checked, parsed, column, rest)
        elif column.allowed:
            others = ~np.isin(values.dictionary.to_pylist(), column.allowed)
            checked.add(Rule.ALLOWED, _coded(values, others) & ~_missing(values) & rest, column.name)
    for low, high in table.ordered:
        wrong = pc.fill_null(pc.greater_equal(parsed.columns[low], parsed.columns[high]), False)
        checked.add(Rule.ORDER, mask_of(wrong) & rest, low, high)
    return checked


def _headings(ids: pa.Array, valid: Mask) -> Mask:
    """Return a mask of the rows that repeat the file's header."""
    found = np.zeros(len(ids), np.bool_)
    suspects = np.flatnonzero(~valid)
    if len(suspects):
        found[suspects] = mask_of(pc.fill_null(pc.equal(ids.take(pa.array(suspects)), "ImageID"), False))
    return found


def _missing(values: pa.Array) -> Mask:
    """Return a mask of the values that are NULL, empty or blank."""
    if pa.types.is_dictionary(values.type):
        blank = mask_of(pc.equal(pc.utf8_trim_whitespace(values.dictionary), ""))
        return _coded(values, blank) | (_nulls(values))
    if not pa.types.is_string(values.type):
        return _nulls(values)
    short = np.flatnonzero(np.diff(offsets_of(values)) != DIGITS)
    found = np.zeros(len(values), np.bool_)
    if len(short):
        trimmed = pc.utf8_trim_whitespace(pc.fill_null(values.take(pa.array(short)), ""))
        found[short] = mask_of(pc.equal(trimmed, ""))
    return found


def _nulls(values: pa.Array) -> Mask:
    return mask_of(values.is_null()) if values.null_count else np.zeros(len(values), np.bool_)


def _coded(values: pa.DictionaryArray, of_dictionary: npt.NDArray[np.bool_]) -> Mask:
    """Return a mask of the rows whose value the dictionary's mask marks; NULL is not marked."""
    if not of_dictionary.any():
        return np.zeros(len(values), np.bool_)
    return np.append(of_dictionary, False)[codes_of(values)]


def codes_of(values: pa.DictionaryArray) -> npt.NDArray[np.int32]:
    """Return each row's index in the dictionary, -1 where it is NULL."""
    codes = values.indices
    return np.asarray((codes.fill_null(-1) if codes.null_count else codes).to_numpy(), np.int32)


def _check_numbers(checked: Checked, parsed: Parsed, column: SourceColumn, rest: Mask) -> None:
    values = parsed.columns[column.name]
    nulls = _nulls(values)
    numbers = (values.fill_null(0) if values.null_count else values).to_numpy()
    wrong = parsed.not_numbers.get(column.name, np.zeros(checked.rows, np.bool_))
    if np.issubdtype(numbers.dtype, np.floating):
        wrong = wrong | np.isnan(numbers)
    checked.add(Rule.NUMBER, wrong & rest, column.name)
    there = rest & ~nulls & ~wrong
    if column.limits:
        low, high = column.limits
        checked.add(Rule.RANGE, ((numbers < low) | (numbers > high)) & there, column.name)
    if column.allowed:
        other = np.ones(checked.rows, np.bool_)
        for value in column.allowed:
            other &= numbers != value
        checked.add(Rule.ALLOWED, other & there, column.name)


def class_indices(values: pa.DictionaryArray, classes: pa.Array) -> npt.NDArray[np.int32]:
    """Return the index of each row's class among the described ones, `UNKNOWN` where it has none."""
    indices = pc.fill_null(pc.index_in(values.dictionary, value_set=classes), UNKNOWN).to_numpy()
    return np.append(indices, UNKNOWN).astype(np.int32)[codes_of(values)]


def image_numbers(ids: pa.Array) -> tuple[npt.NDArray[np.uint64], Mask]:
    """Read ImageIDs as numbers; return them, 0 where invalid, and a mask of the valid ones.

    The rows of an image lie together in most files, so each run of equal ImageIDs is read once.
    """
    numbers, valid = np.zeros(len(ids), np.uint64), np.zeros(len(ids), np.bool_)
    offsets = offsets_of(ids)
    rows = np.flatnonzero(np.diff(offsets) == DIGITS)
    if not len(rows):
        return numbers, valid
    data = np.frombuffer(ids.buffers()[2], np.uint8)
    if len(rows) == len(ids):
        text = data[offsets[0] : offsets[-1]].reshape(-1, DIGITS)
    else:
        text = data[offsets[rows][:, None] + np.arange(DIGITS)]
    halves = text.view(np.uint64)
    begins = np.append(True, (halves[1:, 0] != halves[:-1, 0]) | (halves[1:, 1] != halves[:-1, 1]))
    read, good = _read_digits(text[begins])
    run = np.cumsum(begins) - 1
    numbers[rows], valid[rows] = read[run], good[run]
    return numbers, valid


def _read_digits(text: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint64], Mask]:
    """Read rows of 16 hex digits as numbers, 0 where they are not all digits, and return a mask of those that are.

    The digits are looked up and packed for all rows at once, two words of eight digits a row.
    """
    words = HEX[text].view(">u8").astype(np.uint64)
    good = ((words[:, 0] | words[:, 1]) & HIGH_HALVES) == 0
    for shift, kept in ((4, 0x00FF00FF00FF00FF), (8, 0x0000FFFF0000FFFF), (16, 0x00000000FFFFFFFF)):
        words = (words | (words >> np.uint64(shift))) & np.uint64(kept)
    return np.where(good, (words[:, 0] << np.uint64(32)) | words[:, 1], np.uint64(0)), good
