"""Print the page of the data contract: `PYTHONPATH=. python scripts/data_contract.py > docs/data-contract.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from ml.features.columns import FACE_COLUMNS
from ml.release.contract import PUBLISHED_ROWS, PUBLISHED_SHARE, REFERENCES, TABLES, Rule, SourceColumn, SourceTable

INTRODUCTION = """# Data contract

<!-- Written by `PYTHONPATH=. python scripts/data_contract.py > docs/data-contract.md` from ml/release/contract.py. -->

The stage `extract` checks every row of the annotation files against the tables below. Files may have more columns, in
any order; those are read as text, and only their missing values are counted.

A row that breaks a rule is listed in the table `quarantine` of the attempt of `extract`, a line for each broken rule,
with the columns `table`, `file`, `line` (1 is the header), `rule`, `column` and `value`. At most 1,000 rows are listed
for each 32 MB of a file; the counts in the stage's record and ledger are exact. What becomes of a broken row:

- A box of a configured class stays, with `valid` false if its ImageID, a coordinate or a flag is broken. Its face gets
  the reason `invalid box` and no label. Boxes of persons in MIAP's tables stay likewise; a presentation that is not
  one of MIAP's words is `Unknown`.
- An image-level label is left out.
- An image stays unless its ImageID is broken. A Rotation that is not allowed counts as unknown. Of a repeated ImageID
  all rows stay; the faces take the image once.

If the share of broken rows of a table, or of its boxes of the configured classes that are invalid, is above
`max_fault_share`, the run stops. The message names the table, the rule broken most and three examples.

For every column the record counts the missing values of three kinds: `null` (an empty field), `empty` (quoted and
empty, or blank) and `nan`.
"""
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
        f"A table with at least {PUBLISHED_SHARE:.0%} of these rows is taken for the published one (Open Images V5).\n"
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
    return "\n".join(parts)


def _row(column: SourceColumn) -> tuple[str, ...]:
    allowed = ", ".join(map(str, column.allowed))
    if column.limits:
        low, high = column.limits
        allowed = f"{low:g} or more" if high == float("inf") else f"{low:g} to {high:g}"
    return (
        f"`{column.name}`",
        column.kind.value,
        "must have it" if column.required else "may lack it",
        "always" if column.filled else "may be missing",
        allowed,
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
