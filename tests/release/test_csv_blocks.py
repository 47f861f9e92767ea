"""Byte ranges of CSV files: every line is in one range, whatever their size, and quoted line breaks are noticed."""

import csv
import dataclasses
import gzip
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.release import csv_blocks
from ml.release.csv_blocks import OddQuotesError, count_lines, divide, find_records, read_blocks, record_end

HEADER = "ImageID,Title\n"


def blocks_of(path, size):
    return [block for part in divide({"images": {"train": str(path)}}, size) for block in read_blocks(part)]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("ranges") / "t.csv"


@given(
    lines=st.lists(st.text("ab,é", max_size=9), max_size=12),
    size=st.integers(1, 60),
    piece=st.integers(1, 8),
    end=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
)
def test_every_line_is_in_one_range_whatever_the_size(file, lines, size, piece, end, last):
    body = end.join(lines) + (end if last and lines else "")
    file.write_text(HEADER + body, newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_blocks, "PIECE", piece)
        blocks = blocks_of(file, size)
    assert b"".join(blocks).decode() == body
    assert sum(map(count_lines, blocks)) == body.count("\n") + bool(body and not body.endswith("\n"))
    assert all(
        block.endswith(b"\n") for block in blocks[:-1] if block and block is not next(filter(None, blocks[::-1]))
    )


def test_a_range_that_ends_inside_a_quoted_field_says_so(file):
    file.write_text(HEADER + 'a,"two\nlines"\nb,one\n')
    with pytest.raises(OddQuotesError):
        blocks_of(file, 20)
    assert blocks_of(file, 1000) == [b'a,"two\nlines"\nb,one\n']


def test_a_compressed_file_is_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_blocks, "RANGE_BYTES", 8)
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress((HEADER + 'a,"two\nlines"\nb,one\nc,""""').encode()))
    assert len(divide({"images": {"train": str(path)}}, 8)) == 1
    blocks = blocks_of(path, 8)
    assert b"".join(blocks) == b'a,"two\nlines"\nb,one\nc,""""'
    assert len(blocks) > 1
    assert b'a,"two\nlines"\n' in blocks


def test_a_block_of_a_whole_file_ends_where_a_record_does():
    assert record_end(b'a,"x\ny"\nb,"z\n') == len(b'a,"x\ny"\n')
    assert record_end(b'a,"x\n') == 0
    assert record_end(b"a,b") == 0


@pytest.mark.parametrize("quoted", [False, True])
def test_records_are_found_with_their_line_and_their_text(quoted):
    rows = [["a", "1"], ["b", "x\ny" if quoted else "xy"], ["c", "3"]]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    block = text.getvalue().encode()
    found, others = find_records(block, [0, 2], 3, 2)
    assert [found[row].fields for row in (0, 2)] == [rows[0], rows[2]]
    assert [found[row].line for row in (0, 2)] == [0, 3 if quoted else 2]
    assert others == []


def test_lines_with_another_number_of_fields_are_found_and_empty_ones_skipped():
    found, others = find_records(b"a,1\n\nb\nc,3\n", [1], 2, 2)
    assert (found[1].line, found[1].fields) == (3, ["c", "3"])
    assert [(record.line, record.fields) for record in others] == [(2, ["b"])]


@given(body=st.text('a,"\né', max_size=24), size=st.integers(1, 40), whole=st.booleans())
def test_rows_are_those_that_csv_reads_whatever_the_quotes(file, body, size, whole):
    file.write_text(HEADER + body, newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_blocks, "RANGE_BYTES", size)
        blocks = whole_blocks(file) if whole else ranges_or_whole(file, size)
    read = (csv.reader(io.StringIO(block.decode(), newline="")) for block in blocks)
    expected = [row for row in csv.reader(io.StringIO(body, newline="")) if row]
    assert [row for rows in read for row in rows if row] == expected


def whole_blocks(file):
    (part,) = divide({"images": {"train": str(file)}}, 1 << 20)
    return list(read_blocks(dataclasses.replace(part, whole=True)))


def ranges_or_whole(file, size):
    try:
        return blocks_of(file, size)
    except OddQuotesError:
        return whole_blocks(file)


@pytest.mark.parametrize("line", ['a,5" disc', 'a,"5"" disc" or so', '"a" ,b', 'a,"b"c"', 'a"",b'])
def test_a_quote_in_a_place_of_its_own_is_noticed(line):
    assert csv_blocks.has_misplaced_quote(f"a,b\n{line}\na,b\n".encode())


@pytest.mark.parametrize("line", ['a,"5"" disc"', '"",""', '"""a""",b', 'a,"""",c', '"two\nlines","x,y"', 'a,"cut off'])
def test_quotes_that_csv_writers_put_are_not_misplaced(line):
    assert not csv_blocks.has_misplaced_quote(f"a,b\n{line}\n".encode())
