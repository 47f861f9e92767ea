"""Parse, check and type a few CSV lines as the tasks of extract do."""

import pyarrow as pa

from ml.release.checks import check
from ml.release.contract import TABLES, contract_of
from ml.release.parse import parse
from spark_jobs.annotations import Classes, type_block
from spark_jobs.ranges import faulty_values
from support.spark_stages import LABELS, MIDS

NAMES = (*MIDS, "Person", "Cat")
CLASSES = Classes(
    mids=(*MIDS.values(), "/m/01g317", "/m/01yrx"),
    names=NAMES,
    labels=tuple(LABELS.get(name) for name in NAMES),
    chipped=tuple(name == "Human face" for name in NAMES),
)
HEADERS = {name: tuple(column.name for column in table.columns) for name, table in TABLES.items()}
A, B, C = "00000000000000aa", "00000000000000ab", "00000000000000ac"


def block_of(*lines):
    return "".join(f"{line}\n" for line in lines).encode()


def checked(table, *lines, names=None, subset="train", all_classes=False):
    contract = contract_of(table, subset, all_classes)
    parsed = parse(block_of(*lines), names or HEADERS[table], contract)
    return parsed, check(parsed, contract, pa.array(CLASSES.mids))


def faults(table, *lines, names=None, **file):
    """The values that break a rule: line, rule, column and value of each."""
    parsed, found = checked(table, *lines, names=names, **file)
    values = faulty_values(block_of(*lines), names or HEADERS[table], parsed, found)
    return [(value.line, str(value.rule), value.column, value.value) for value in values]


def typed(table, *lines, names=None, subset="train", **file):
    found = checked(table, *lines, names=names, subset=subset, **file)
    return type_block(table, *found, CLASSES, subset, "release")
