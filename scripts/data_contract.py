"""Print the page of the data contract: `PYTHONPATH=. python scripts/data_contract.py > docs/data-contract.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from ml.features.columns import FACE_COLUMNS
from ml.features.output_table import OutputColumn, OutputTable, Reference, Where
from ml.features.outputs import DELIVERY, FACE_ID, IMAGE_ID, OUTPUTS
from ml.release.contract import PUBLISHED_ROWS, PUBLISHED_SHARE, REFERENCES, TABLES, Rule, SourceColumn, SourceTable

INTRODUCTION = """# Data contract

<!-- Written by `PYTHONPATH=. python scripts/data_contract.py > docs/data-contract.md` from ml/release/contract.py
and ml/features/outputs.py. -->

The stage `extract` checks every row of the annotation files against the tables below. Files may have more columns, in
any order; those are read as text, and only their missing values are counted.

A row that breaks a rule is listed in the table `quarantine` of the attempt of `extract`, a line for each broken rule,
with the columns `table`, `file`, `line` (1 is the header), `rule`, `column` and `value`. At most 1,000 rows are listed
for each 16 MB of a file; the counts in the stage's record and ledger are exact. What becomes of a broken row:

- A box of a configured class stays, with `valid` false if its ImageID, a coordinate or a flag is broken. Its face gets
  the reason `invalid box` and no label. Boxes of persons in MIAP's tables stay likewise; a presentation that is not
  one of MIAP's words is `Unknown`.
- An image-level label is left out.
- An image stays unless its ImageID is broken. A Rotation that is not allowed counts as unknown. Of a repeated ImageID
  all rows stay; the faces take the image once.

Two kinds of files have rules of their own. A file with the image-level labels of all classes may name classes that are
not described; those rows are counted as `other classes` and left out. In a list of the images of all subsets, every row
must have a Subset, and a row without an allowed one is left out.

If the share of broken rows of a table, or of its boxes of the configured classes that are invalid, is above
`max_fault_share`, the run stops. The message names the table, the rule broken most and three examples.

For every column the record counts the missing values of three kinds: `null` (an empty field), `empty` (quoted and
empty, or blank) and `nan`.
"""
OUTPUTS_INTRODUCTION = """\
Every Parquet table that a stage leaves has exactly these columns (`ml/features/outputs.py`). Tests check the tables of
whole runs, with their keys and references; a run itself checks only counts, the split and the pixels.

Under *value*, `where` names the rows for which the line holds. The others are broken or lack a label: they may lack the
value, or have a faulty one.
"""
FORMS = {
    IMAGE_ID: "16 lower-case hex digits",
    FACE_ID: "the ImageID, `-` and 12 hex digits",
    DELIVERY: "`release` or a date",
}
MEANINGS = {
    Rule.FIELDS: "The line has more or fewer fields than the header.",
    Rule.HEADER: "The line repeats the header, as after files are joined end to end.",
    Rule.ENCODING: "The value is not UTF-8. It is kept with replacement characters.",
    Rule.MISSING: "The field is empty or blank, but every row must have a value.",
    Rule.IMAGE_ID: "The ImageID is not 16 lower-case hex digits.",
    Rule.NUMBER: "The value is text or NaN where a number belongs.",
    Rule.RANGE: "The number is below the smallest or above the largest one allowed.",
    Rule.ALLOWED: "The value is not one of those allowed.",
    Rule.ORDER: "The left edge is not left of the right one, or the top edge is not above the bottom one.",
    Rule.CLASS: "The class descriptions do not name the class.",
    Rule.REPEATED: "An earlier row has the same key.",
}


def page() -> str:
    """Return the page as Markdown."""
    parts = [INTRODUCTION, "## Rules\n", _table(("rule", "meaning"), [(f"`{r}`", MEANINGS[r]) for r in Rule])]
    parts.append("## Source tables\n")
    for table in TABLES.values():
        parts += [
            f"### {table.name}\n",
            _table(("column", "type", "file", "value", "allowed"), map(_row, table.columns)),
        ]
        parts += [f"{note}\n" for note in _notes(table)]
    parts += ["## References\n", _table(("tables", "column", "must be in", "checked by"), REFERENCES)]
    parts.append("## Published rows\n")
    parts.append(
        f"A table with at least {PUBLISHED_SHARE:.0%} of these rows is taken for the published one. They are the rows\n"
        "of Open Images V5, and hold for V6 and V7 where these have the same files; other files are not compared.\n"
        "Another number of rows is reported in the log and in the record of `extract`, and stops nothing.\n"
    )
    subsets = list(next(iter(PUBLISHED_ROWS.values())))
    rows = [(name, *(f"{n:,}" for n in by.values()), f"{sum(by.values()):,}") for name, by in PUBLISHED_ROWS.items()]
    parts.append(_table(("table", *subsets, "all"), rows))
    parts.append("## Columns that travel with a face\n")
    parts.append("The stages after `extract` derive their schemas from this table (`ml/features/columns.py`).\n")
    parts.append(
        _table(("column", "type", "comes from"), [(f"`{c.name}`", c.spark, c.origin.value) for c in FACE_COLUMNS])
    )
    parts += ["## The stages' tables\n", OUTPUTS_INTRODUCTION]
    for output in OUTPUTS.values():
        parts += [f"### {output.stage}: {output.name}\n", *_output(output)]
    return "\n".join(parts)


def _output(output: OutputTable) -> Iterable[str]:
    if output.only_with:
        yield f"Only with {output.only_with}.\n"
    yield _table(("column", "type", "value", "allowed"), map(_output_row, output.columns))
    notes = [f"`{low}` is less than `{high}`{_where(_condition(output, low))}." for low, high in output.ordered]
    notes += [f"No two rows have the same {_columns(key.columns)}{_where(key.where)}." for key in output.keys]
    notes += map(_reference, output.references)
    yield from (f"{note}\n" for note in notes)


def _output_row(column: OutputColumn) -> tuple[str, ...]:
    value = f"{'always' if column.filled else 'may be missing'}{_where(column.where)}"
    value += "; never in other rows" if column.else_null else ""
    allowed = FORMS[column.pattern] if column.pattern else _allowed(column.allowed, column.limits)
    return f"`{column.name}`", column.spark, value, allowed


def _reference(reference: Reference) -> str:
    target = f" as {_columns(reference.target)}" if reference.target else ""
    name = f"`{reference.stage}: {reference.table}`"
    return f"{_columns(reference.columns)}: in a row of {name}{target}{_where(reference.where)}."


def _condition(output: OutputTable, name: str) -> Where | None:
    column = output.column(name)
    return column.where if column else None


def _where(where: Where | None) -> str:
    if where is None:
        return ""
    values = " or ".join(f"`{str(value).lower() if isinstance(value, bool) else value}`" for value in where.values)
    return f" where `{where.column}` is {'not ' if where.but else ''}{values}"


def _columns(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _allowed(allowed: Iterable[object], limits: tuple[float, float] | None) -> str:
    if limits is None:
        return ", ".join(map(str, allowed))
    low, high = limits
    return f"{low:g} or more" if high == float("inf") else f"{low:g} to {high:g}"


def _row(column: SourceColumn) -> tuple[str, ...]:
    return (
        f"`{column.name}`",
        column.kind.value,
        "must have it" if column.required else "may lack it",
        "always" if column.filled else "may be missing",
        _allowed(column.allowed, column.limits),
    )


def _notes(table: SourceTable) -> Iterable[str]:
    yield from (f"`{low}` must be less than `{high}`." for low, high in table.ordered)
    if table.unique:
        yield f"No two rows may have the same {' and '.join(table.unique)}."
    if table.repeatable:
        yield f"Rows with the same {' and '.join(table.repeatable)} are counted, and allowed."


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(page())
