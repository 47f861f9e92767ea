"""Blocks of CSV lines: the fast and the slow way give the same columns, and missing values are counted by kind."""

import csv
import io

import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ml.release.contract import TABLES
from ml.release.csv_blocks import has_misplaced_quote
from ml.release.parse import Missing, parse
from support.blocks import A, B, C, block_of

LABELS = ("ImageID", "Source", "LabelName", "Confidence")


def test_null_empty_and_nan_are_counted_each_by_itself():
    lines = ("a,,1,x", 'b,"",nan,x', 'c," ",NaN,x', 'd,"x, ""y""",2,x', "e, nan ,,x", "f,Nan,0,x", "g,nab ,0,\té ")
    parsed = parse(block_of(*lines), ("ImageID", "Author", "Rotation", "Free"), TABLES["images"])
    assert parsed.missing == {
        "ImageID": Missing(0, 0, 0),
        "Author": Missing(1, 2, 2),
        "Rotation": Missing(1, 0, 2),
        "Free": Missing(0, 0, 0),
    }
    assert parsed.columns["Author"].to_pylist()[3] == 'x, "y"'


@pytest.mark.parametrize("odd", ["maybe", "1x", "0x1", '" "', '""', "+1", "1,5"])
def test_a_value_that_does_not_convert_leaves_the_other_values_as_they_are(odd):
    lines = (f"{A},v,/m/1,1", f"{B},v,/m/2,0", f"{C},,/m/1,1.0e0")
    clean = parse(block_of(*lines), LABELS, TABLES["labels"])
    slow = parse(block_of(*lines, f"{A},v,/m/1,{odd}"), LABELS, TABLES["labels"])
    for name in LABELS:
        assert slow.columns[name].to_pylist()[:3] == clean.columns[name].to_pylist()
        assert slow.columns[name].type == clean.columns[name].type
    assert slow.wrong_lines == (odd == "1,5")
    assert slow.columns["Confidence"].to_pylist()[3:] == [] if odd == "1,5" else [None]


def test_missing_values_are_counted_alike_the_slow_way():
    lines = ("a,,/m/1,nan", 'b,"",,', "c,x,/m/1,0")
    fast = parse(block_of(*lines), LABELS, TABLES["labels"])
    slow = parse(block_of(*lines, "d,x,/m/1,bad"), LABELS, TABLES["labels"])
    assert slow.missing == fast.missing
    assert slow.not_numbers["Confidence"].tolist() == [False, False, False, True]


@given(st.text('a,"\n\r ', max_size=14))
def test_rows_are_those_that_csv_reads(body):
    block = body.encode()
    assume(block.count(b'"') % 2 == 0 and not has_misplaced_quote(block))  # such blocks are never parsed
    parsed = parse(block, ("ImageID", "Title"), TABLES["images"])
    rows = [row for row in csv.reader(io.StringIO(body, newline="")) if row]
    found = zip(*(parsed.columns[name].to_pylist() for name in ("ImageID", "Title")), strict=True)
    assert [[value or "" for value in row] for row in found] == [row for row in rows if len(row) == 2]
    assert parsed.wrong_lines == sum(len(row) != 2 for row in rows)


def test_text_that_is_not_utf8_is_noted_and_kept_readable():
    block = block_of(f"{A},x,/m/1,1") + f"{B},".encode() + b"\xff\xfe," + b"/m/1,1\n"
    parsed = parse(block, LABELS, TABLES["labels"])
    assert parsed.not_utf8["Source"].tolist() == [False, True]
    assert parsed.columns["Source"].to_pylist() == ["x", "��"]
    assert parsed.columns["Confidence"].to_pylist() == [1.0, 1.0]


def test_an_empty_block_has_all_columns():
    parsed = parse(b"", LABELS, TABLES["labels"])
    assert parsed.rows == 0
    assert parsed.columns["LabelName"].type == pa.dictionary(pa.int32(), pa.string())
