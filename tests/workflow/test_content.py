"""The content of attempts is compared by schema, rows, order and values, whatever bytes the writer chose."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from ml import storage
from ml.__main__ import app
from ml.workflow.content import attempt_digest, first_difference, logical_name
from support.attempts import commit_attempt

UUIDS = ("6f0c2a52-9d8f-4a35-8f0b-1f7e37a0c3f1", "00000000-9d8f-4a35-8f0b-1f7e37a0c3f1")
NAME = "part-00003-{}.c000.snappy.parquet"
ROWS = 2500


@pytest.fixture
def attempt(tmp_path):
    """Commit an attempt that holds a table, a JSON file and a picture."""

    def make(name, table, uuid=UUIDS[0], note=None, picture=b"png", **options):
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer, **options)
        uri = storage.normalize(tmp_path / "stages/extract/key/attempts" / name)
        files = {
            f"faces/{NAME.format(uuid)}": buffer.getvalue().to_pybytes(),
            "note.json": json.dumps({"uri": f"{uri}/plot.png", **(note or {})}).encode(),
            "plot.png": picture,
        }
        return commit_attempt(tmp_path, "extract", name, files)

    return make


def faces(**changes):
    """Make a table with values of every kind that stages write, NULL among them."""
    columns = {
        "face_id": pa.array([f"face-{i}" for i in range(ROWS)]),
        "x_min": pa.array([None if i % 7 == 0 else i / 10 for i in range(ROWS)], pa.float64()),
        "is_group": pa.array([i % 3 == 0 for i in range(ROWS)]),
        "label": pa.array([None if i % 5 == 0 else i % 2 for i in range(ROWS)], pa.int8()),
        "chip": pa.array([None if i % 11 == 0 else bytes([i % 256]) * (i % 4) for i in range(ROWS)], pa.binary()),
        "classes": pa.array([["Man", "Boy"][: i % 3] for i in range(ROWS)]),
    }
    return pa.table({**columns, **changes})


def changed(name, row, value):
    """Return a column of the table with one other value."""
    column = faces().column(name)
    values = column.to_pylist()
    values[row] = value
    return pa.array(values, column.type)


def test_row_groups_compression_and_names_of_the_writer_do_not_count(attempt):
    one = attempt("one", faces(), row_group_size=100, compression="snappy")
    other = attempt("other", faces(), UUIDS[1], row_group_size=1999, compression="gzip", use_dictionary=False)
    paths = [file.path for manifest in (one, other) for file in manifest.files if file.path.startswith("faces/")]
    assert paths[0] != paths[1]
    assert len({storage.read_bytes(storage.join(m.uri, p)) for m, p in zip((one, other), paths, strict=True)}) == 2
    assert first_difference(one, other) is None
    assert attempt_digest(one) == attempt_digest(other)


@pytest.mark.parametrize(
    ("name", "row", "value", "shown"),
    [
        ("face_id", 2100, "face-0", ("'face-2100'", "'face-0'")),
        ("x_min", 1, 0.1 + 1e-17 + 2e-17, ("0.1", "0.10000000000000003")),
        ("x_min", 0, 0.0, ("None", "0.0")),
        ("is_group", 4, True, ("False", "True")),
        ("label", 1023, 0, ("1", "0")),
        ("chip", 1026, b"", ("b'\\x02\\x02'", "b''")),
        ("classes", 5, ["Boy", "Man"], ("['Man', 'Boy']", "['Boy', 'Man']")),
    ],
)
def test_a_changed_value_is_named(attempt, name, row, value, shown):
    one, other = attempt("one", faces()), attempt("other", faces(**{name: changed(name, row, value)}))
    found = first_difference(one, other)
    assert (found.file, found.row, found.column) == ("faces/part-00003-000.parquet", row, name)
    assert (found.left, found.right) == shown
    assert attempt_digest(one) != attempt_digest(other)


def test_the_first_row_that_differs_is_named_and_then_its_first_column(attempt):
    columns = {"face_id": changed("face_id", 30, "late"), "label": changed("label", 7, 0)}
    found = first_difference(attempt("one", faces()), attempt("other", faces(**columns)))
    assert (found.row, found.column) == (7, "label")


def test_another_order_of_the_rows_is_found(attempt):
    order = [1, 0, *range(2, ROWS)]
    found = first_difference(attempt("one", faces()), attempt("other", faces().take(order)))
    assert (found.row, found.column, found.left, found.right) == (0, "face_id", "'face-0'", "'face-1'")


def test_bytes_that_move_from_one_value_to_the_next_are_found(attempt):
    one, other = (
        attempt(name, pa.table({"text": values})) for name, values in (("one", ["ab", "c"]), ("other", ["a", "bc"]))
    )
    assert first_difference(one, other).row == 0
    assert attempt_digest(one) != attempt_digest(other)


def test_another_type_and_another_order_of_columns_are_found(attempt):
    one = attempt("one", faces())
    other = attempt("other", faces(label=faces().column("label").cast(pa.int32())))
    found = first_difference(one, other)
    assert (found.row, found.column) == (None, None)
    assert "label int8" in found.left
    assert "label int32" in found.right
    turned = attempt("turned", faces().select([*reversed(faces().column_names)]))
    assert first_difference(one, turned) is not None
    assert len({attempt_digest(each) for each in (one, other, turned)}) == 3


def test_missing_rows_and_files_are_found(attempt):
    one, short = attempt("one", faces()), attempt("short", faces().slice(0, ROWS - 1))
    found = first_difference(one, short)
    assert (found.row, found.left, found.right) == (ROWS - 1, "2,500 rows", "2,499 rows")
    without = one.model_copy(update={"files": [file for file in one.files if file.path != "plot.png"]})
    assert str(first_difference(one, without)) == "plot.png: there, but missing in the other"
    assert attempt_digest(one) != attempt_digest(without)


def test_json_counts_by_its_values_without_the_attempts_own_address_and_pictures_by_their_bytes(attempt):
    one = attempt("one", faces(), note={"a": 1, "b": 2})
    assert first_difference(one, attempt("two", faces(), note={"b": 2, "a": 1})) is None
    found = first_difference(one, attempt("three", faces(), note={"a": 1, "b": 3}))
    assert found.file == "note.json"
    assert '"b": 2' in found.left
    assert '"b": 3' in found.right
    found = first_difference(one, attempt("four", faces(), note={"a": 1, "b": 2}, picture=b"pnG"))
    assert (found.file, found.left) == ("plot.png", "3 bytes, first different at 2")


def test_names_of_sparks_files_keep_the_numbers():
    folder = "features/split=train/"
    assert logical_name(folder + NAME.format(UUIDS[0])) == folder + "part-00003-000.parquet"
    assert logical_name(f"faces/part-00012-{UUIDS[1]}-c001.parquet") == "faces/part-00012-001.parquet"
    assert logical_name("predictions.parquet") == "predictions.parquet"


def test_the_command_says_whether_two_attempts_are_the_same(attempt):
    one, same = attempt("one", faces()), attempt("same", faces(), UUIDS[1])
    other = attempt("other", faces(label=changed("label", 3, 0)))
    done = CliRunner().invoke(app, ["compare-content", one.uri, same.uri])
    assert done.exit_code == 0
    assert done.output.startswith("The same content: ")
    done = CliRunner().invoke(app, ["compare-content", one.uri, other.uri])
    assert done.exit_code == 1
    assert done.output == "faces/part-00003-000.parquet, row 3, column label: 1, but 0 in the other\n"
