"""What the contract of a stage's table says: columns, keys and references."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from ml.features.columns import ARROW_TYPES

ANY = "*"  # at the end of a column's name: one column for each label of the run


@dataclass(frozen=True)
class Where:
    """Rows with certain values in a column, or, with `but`, all other rows."""

    column: str
    values: tuple[str, ...] | tuple[bool, ...]
    but: bool = False


@dataclass(frozen=True)
class OutputColumn:
    """A column.

    Attributes:
        name: The name; see `ANY`.
        spark: The type in Spark's DDL. A string may be dictionary-encoded.
        filled: Every row must have a value.
        limits: The smallest and the largest number allowed.
        allowed: The values allowed; empty if all are.
        pattern: A regular expression that the values match; empty if all do.
        where: The rows for which this holds; None for all. Other rows may lack the value or have a faulty one.
        else_null: Other rows have no value.
    """

    name: str
    spark: str
    filled: bool = True
    limits: tuple[float, float] | None = None
    allowed: tuple[str, ...] | tuple[int, ...] = ()
    pattern: str = ""
    where: Where | None = None
    else_null: bool = False

    @property
    def arrow(self) -> pa.DataType:
        """The type in Arrow."""
        return ARROW_TYPES[self.spark]


@dataclass(frozen=True)
class Key:
    """Columns whose values identify a row, among all rows or some of them."""

    columns: tuple[str, ...]
    where: Where | None = None


@dataclass(frozen=True)
class Reference:
    """Columns whose values some row of another table has; a row that lacks one of them refers to nothing.

    Attributes:
        columns: The columns.
        stage: The stage that leaves the other table.
        table: The other table.
        target: Its columns; empty if they have the same names.
        where: The rows for which this holds; None for all.
    """

    columns: tuple[str, ...]
    stage: str
    table: str
    target: tuple[str, ...] = ()
    where: Where | None = None


@dataclass(frozen=True)
class OutputTable:
    """A table.

    Attributes:
        stage: The stage that leaves it.
        name: The folder of its files, or the name of its only file.
        columns: The columns; a table has no others.
        keys: What identifies a row.
        ordered: Pairs of columns of which the first is less than the second, in the rows in which both are valid.
        references: What other tables must hold.
        only_with: When the stage leaves the table; empty if always.
    """

    stage: str
    name: str
    columns: tuple[OutputColumn, ...]
    keys: tuple[Key, ...] = ()
    ordered: tuple[tuple[str, str], ...] = ()
    references: tuple[Reference, ...] = ()
    only_with: str = ""

    def column(self, name: str) -> OutputColumn | None:
        """Return the row of a column, None if the table has no such column."""
        for column in self.columns:
            if column.name == name or (column.name.endswith(ANY) and name.startswith(column.name.removesuffix(ANY))):
                return column
        return None

    def schema(self, names: Iterable[str] = ()) -> pa.Schema:
        """Return the Arrow schema of some columns, or of all."""
        by_name = {column.name: column.arrow for column in self.columns}
        return pa.schema([(name, by_name[name]) for name in names or by_name])
