"""The rules of the data contract: each is broken by a row, and named with its column and value."""

import numpy as np
import pyarrow as pa
import pytest

from ml.release.checks import image_numbers
from ml.release.contract import PUBLISHED_ROWS, differences
from support.blocks import HEADERS, A, B, checked, faults

FACE = "/m/0dzct"
EDGES, FLAGS = "0.1,0.2,0.1,0.2", "0,0,0,0,0"
GOOD = f"{A},xclick,{FACE},1,{EDGES},{FLAGS}"


@pytest.mark.parametrize(
    ("line", "rule", "column", "value"),
    [
        (f",xclick,{FACE},1,{EDGES},{FLAGS}", "missing value", "ImageID", ""),
        (f'" ",xclick,{FACE},1,{EDGES},{FLAGS}', "missing value", "ImageID", " "),
        (f"00aa,xclick,{FACE},1,{EDGES},{FLAGS}", "not 16 hex digits", "ImageID", "00aa"),
        (f"{A[:-1]}G,xclick,{FACE},1,{EDGES},{FLAGS}", "not 16 hex digits", "ImageID", f"{A[:-1]}G"),
        (f"{A},xclick,/m/unknown,1,{EDGES},{FLAGS}", "class not described", "LabelName", "/m/unknown"),
        (f"{A},xclick,,1,{EDGES},{FLAGS}", "missing value", "LabelName", ""),
        (f"{A},xclick,{FACE},1,nan,0.2,0.1,0.2,{FLAGS}", "not a number", "XMin", "nan"),
        (f"{A},xclick,{FACE},1,,0.2,0.1,0.2,{FLAGS}", "missing value", "XMin", ""),
        (f"{A},xclick,{FACE},1,x,0.2,0.1,0.2,{FLAGS}", "not a number", "XMin", "x"),
        (f"{A},xclick,{FACE},1,-0.2,0.2,0.1,0.2,{FLAGS}", "outside the range", "XMin", "-0.2"),
        (f"{A},xclick,{FACE},1,0.1,0.2,0.1,inf,{FLAGS}", "outside the range", "YMax", "inf"),
        (f"{A},xclick,{FACE},1,0.2,0.1,0.1,0.2,{FLAGS}", "edges in the wrong order", "XMin,XMax", "0.2,0.1"),
        (f"{A},xclick,{FACE},1,0.1,0.2,0.2,0.2,{FLAGS}", "edges in the wrong order", "YMin,YMax", "0.2,0.2"),
        (f"{A},xclick,{FACE},1,{EDGES},2,0,0,0,0", "not an allowed value", "IsOccluded", "2"),
        (f"{A},xclick,{FACE},1,{EDGES},0,0,300,0,0", "not an allowed value", "IsGroupOf", "300"),
        (f"{A},xclick,{FACE},1,{EDGES},0,0,,0,0", "missing value", "IsGroupOf", ""),
        (f"{A},xclick,{FACE},7,{EDGES},{FLAGS}", "outside the range", "Confidence", "7"),
        (f"{A},xclick,{FACE},1,{EDGES}", "wrong number of fields", None, f"{A},xclick,{FACE},1,{EDGES}"),
        (",".join(HEADERS["boxes"]), "header inside the file", None, ",".join(HEADERS["boxes"])),
    ],
)
def test_a_broken_box_is_named_by_rule_column_and_value(line, rule, column, value):
    assert faults("boxes", GOOD, line, GOOD) == [(1, rule, column, value)]


@pytest.mark.parametrize(
    ("table", "line", "column", "value"),
    [
        ("labels", f"{A},v,{FACE},0.5", "Confidence", "0.5"),
        ("images", f"{A},elsewhere,o,u,l,p,a,t,1,m,n,0", "Subset", "elsewhere"),
        ("images", f"{A},train,o,u,l,p,a,t,1,m,n,45.0", "Rotation", "45.0"),
        ("miap", f"{A},/m/01g317,1,{EDGES},{FLAGS},female,Young", "GenderPresentation", "female"),
        ("miap", f"{A},/m/01g317,1,{EDGES},{FLAGS},Unknown,old", "AgePresentation", "old"),
    ],
)
def test_a_value_that_is_not_allowed_is_named(table, line, column, value):
    assert faults(table, line) == [(0, "not an allowed value", column, value)]


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("boxes", GOOD),
        ("boxes", f"{A},activemil,{FACE},,0,1,0.0,1e0,-1,-1,-1,-1,-1"),
        ("labels", f"{A},,{FACE},0"),
        ("images", f"{A},train,,,,,,,,,,"),
        ("images", f'{A},test,o,u,l,p,a,"t, ""x""",1,m,n,270.0'),
    ],
)
def test_what_the_published_files_hold_breaks_no_rule(table, line):
    assert faults(table, line) == []


def test_a_row_that_breaks_several_rules_is_listed_with_each():
    found = faults("boxes", f"{A},xclick,{FACE},1,nan,,0.1,2,{FLAGS}")
    assert [(rule, column) for _, rule, column, _ in found] == [
        ("not a number", "XMin"),
        ("missing value", "XMax"),
        ("outside the range", "YMax"),
    ]


def test_a_quoted_line_break_before_a_broken_row_moves_its_line():
    images = (f'{A},train,o,u,l,p,a,"two\nlines",1,m,n,0', f"{B},train,o,u,l,p,a,t,1,m,n,45")
    assert faults("images", *images) == [(2, "not an allowed value", "Rotation", "45")]


def test_columns_in_another_order_and_further_ones_are_read_by_name():
    names = ("More", "Rotation", "ImageID", "Subset", "OriginalLandingURL", "License", "Author", "Title")
    assert faults("images", f"x,7,{A},train,u,l,a,t", names=names) == [(0, "not an allowed value", "Rotation", "7")]


def test_image_ids_are_read_as_numbers():
    ids = ["00000000000000ff", "fedcba9876543210", None, "", "0000000000000gff", "00000000000000FF", "ff", "f" * 17]
    numbers, valid = image_numbers(pa.array(ids, pa.string()))
    assert [f"{number:016x}" for number in numbers[:2]] == ids[:2]
    assert valid.tolist() == [True, True, *[False] * 6]
    assert not np.any(numbers[2:])


def test_a_sliced_column_is_checked_from_its_own_offset():
    ids = pa.array(["bad", A, B]).slice(1)
    assert image_numbers(ids)[1].tolist() == [True, True]


def test_no_fault_is_noted_where_there_is_none():
    assert checked("boxes", GOOD)[1].faults == []


def test_row_counts_are_compared_with_the_published_ones_if_the_release_looks_like_it():
    published = PUBLISHED_ROWS["boxes"]
    assert differences({"boxes": published, "labels": {"train": 60}}) == []
    fewer = {**published, "test": published["test"] - 1}
    assert differences({"boxes": fewer}) == [("boxes", "test", published["test"] - 1, published["test"])]
    assert differences({"boxes": {**published, "train": published["train"] // 2}}) == []
