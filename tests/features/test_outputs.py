"""The contract of the stages' tables: it agrees with itself and with the jobs, and each planted violation is found."""

import pyarrow as pa
import pytest

from ml.features.output_checks import check_references, check_table
from ml.features.output_table import ANY, Key, OutputColumn, OutputTable, Reference, Where
from ml.features.outputs import OUTPUTS
from ml.flow.table import ALL_STAGES
from spark_jobs import chipping, faces, featurize, predict

GOOD = Where("state", ("good",))
CONTRACT = OutputTable(
    "cut",
    "pieces",
    (
        OutputColumn("id", "string", pattern="^[a-z]+$"),
        OutputColumn("low", "double", limits=(0, 1), where=GOOD),
        OutputColumn("high", "double", limits=(0, 1), where=GOOD),
        OutputColumn("state", "string", allowed=("good", "bad")),
        OutputColumn("turn", "int", filled=False, allowed=(0, 90)),
        OutputColumn("name", "string", where=GOOD, else_null=True),
        OutputColumn(f"share_{ANY}", "double", filled=False),
    ),
    keys=(Key(("id",), GOOD),),
    ordered=(("low", "high"),),
    references=(Reference(("id",), "list", "ids", ("known",), GOOD), Reference(("name", "turn"), "list", "names")),
)
ROWS = [
    {"id": "a", "low": 0.0, "high": 0.5, "state": "good", "turn": 90, "name": "x", "share_one": 0.1},
    {"id": "b", "low": 0.5, "high": 1.0, "state": "good", "turn": None, "name": "y", "share_one": None},
    {"id": "b", "low": 9.0, "high": None, "state": "bad", "turn": 0, "name": None, "share_one": None},
]
SCHEMA = pa.schema([(c.name.replace(ANY, "one"), c.arrow) for c in CONTRACT.columns])


def table(*rows):
    return pa.Table.from_pylist([base | row for base, row in zip(ROWS, [*rows, {}, {}, {}], strict=False)], SCHEMA)


def test_a_table_that_keeps_the_contract_has_no_fault():
    assert check_table(table(), CONTRACT) == []
    assert check_table(table().slice(0, 0), CONTRACT) == []


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([{"id": None}], "pieces.id: 1 missing"),
        ([{"id": "A"}], "pieces.id: 1 not like ^[a-z]+$, as 'A'"),
        ([{"high": 1.5}], "pieces.high: 1 outside 0 to 1, as 1.5"),
        ([{"high": float("nan")}], "pieces.high: 1 outside 0 to 1, as nan"),
        ([{"high": None}], "pieces.high: 1 missing"),
        ([{"low": 0.5}], "pieces.low: 1 not less than high"),
        ([{}, {}, {"state": "ugly"}], "pieces.state: 1 not allowed, as 'ugly'"),
        ([{"turn": 45}], "pieces.turn: 1 not allowed, as 45"),
        ([{"name": None}], "pieces.name: 1 missing"),
        ([{}, {}, {"name": "z"}], "pieces.name: 1 where there must be none"),
        ([{"id": "b"}], "pieces: 2 rows share ('id',), as ('b',)"),
    ],
)
def test_a_planted_value_is_found(rows, fault):
    assert check_table(table(*rows), CONTRACT) == [fault]


def test_columns_that_are_missing_undeclared_or_of_another_type_are_found():
    wrong = table().drop_columns(["state"]).append_column("more", pa.array([1, 2, 3]))
    place = wrong.schema.get_field_index("turn")
    wrong = wrong.set_column(place, "turn", wrong.column("turn").cast(pa.int64()))
    assert check_table(wrong, CONTRACT) == [
        "pieces.more: not declared",
        "pieces.state: missing",
        "pieces.turn: int64 instead of int32",
    ]
    assert check_table(table().drop_columns(["share_one"]), CONTRACT) == ["pieces.share_*: missing"]


def test_text_may_be_dictionary_encoded():
    coded = table()
    assert check_table(coded.set_column(3, "state", coded.column("state").dictionary_encode()), CONTRACT) == []


def known(*ids):
    names = pa.table({"name": ["x", "y"], "turn": pa.array([90, None], pa.int32())})
    return {("list", "ids"): pa.table({"known": list(ids)}), ("list", "names"): names}


def test_references_that_resolve_are_no_faults_and_others_are_found():
    tables = {("cut", "pieces"): table(), **known("a", "b")}
    assert check_references(CONTRACT, tables) == []
    assert check_references(CONTRACT, tables | known("b")) == ["pieces: 1 rows are not in list.ids, as ('a',)"]
    tables["cut", "pieces"] = table({"turn": 0})
    assert check_references(CONTRACT, tables) == ["pieces: 1 rows are not in list.names, as ('x', 0)"]
    del tables["list", "names"]
    assert check_references(CONTRACT, tables) == ["pieces: refers to list.names, which is missing"]


@pytest.mark.parametrize("contract", OUTPUTS.values(), ids=lambda contract: f"{contract.stage}.{contract.name}")
def test_what_the_contract_names_is_declared(contract):
    assert contract.stage in ALL_STAGES
    by_name = {column.name: column for column in contract.columns}
    assert len(by_name) == len(contract.columns)
    rows = [held.where for held in (*contract.columns, *contract.keys, *contract.references) if held.where]
    for where in rows:
        assert by_name[where.column].spark == "boolean" or set(where.values) <= set(by_name[where.column].allowed)
    for pair in (*contract.ordered, *(key.columns for key in contract.keys)):
        assert set(pair) <= set(by_name)
    for reference in contract.references:
        others = {column.name: column for column in OUTPUTS[reference.stage, reference.table].columns}
        for own, other in zip(reference.columns, reference.target or reference.columns, strict=True):
            assert by_name[own].spark == others[other].spark


def test_the_words_of_the_jobs_are_those_of_the_contract():
    def allowed(stage, name, column):
        return OUTPUTS[stage, name].column(column).allowed

    assert set(allowed("join_labels", "faces", "reason")) == {faces.LABELLED, *faces.REASONS}
    assert allowed("predict", "photographs", "status") == predict.STATUSES
    listed = next(r.where for r in OUTPUTS["join_labels", "faces"].references if r.table == "images")
    assert listed.values == faces.OWN_REASONS


def test_the_columns_that_jobs_on_spark_write_are_those_of_the_contract_in_order():
    def ddl(stage, name):
        return [(column.name, column.spark) for column in OUTPUTS[stage, name].columns]

    assert ddl("chip", "chips") == [(column.name, column.spark) for column in chipping.SCHEMA]
    written = [(column.name, column.spark) for column in featurize.SCHEMA if column not in featurize.SUMS]
    assert sorted(ddl("featurize", "features")) == sorted(written)
