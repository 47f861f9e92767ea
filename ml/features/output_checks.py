"""Check tables against the contract of the stages' tables, `ml.features.outputs`."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ml import storage
from ml.features.output_table import OutputColumn, OutputTable, Where
from ml.workflow.manifest import Manifest

Tables = Mapping[tuple[str, str], pa.Table]  # by stage and name


def read_tables(manifest: Manifest) -> dict[str, pa.Table]:
    """Read all Parquet tables of an attempt, with the columns that are in names of folders, such as `split=train`."""
    parts: dict[str, list[pa.Table]] = {}
    for delivery in manifest.of_deliveries():
        for file in delivery.files:
            if not file.path.endswith(".parquet"):
                continue
            name, *folders = file.path.removesuffix(".parquet").split("/")
            part = pq.read_table(
                io.BytesIO(storage.read_bytes(storage.join(delivery.uri, file.path))), partitioning=None
            )
            for folder in folders[:-1]:
                column, _, value = folder.partition("=")
                part = part.append_column(column, pa.repeat(value, len(part)))
            parts.setdefault(name, []).append(_plain(part))
    return {name: pa.concat_tables(found) for name, found in parts.items()}


def check_table(table: pa.Table, contract: OutputTable) -> list[str]:
    """Return what of a table breaks its contract: columns, types, missing and wrong values, and keys."""
    table = _plain(table)
    columns = {name: column for name in table.column_names if (column := contract.column(name))}
    found = [f"{contract.name}.{name}: not declared" for name in table.column_names if name not in columns]
    missing = [column.name for column in contract.columns if column not in columns.values()]
    found += [f"{contract.name}.{name}: missing" for name in missing]
    for name, column in columns.items():
        if (kind := table.schema.field(name).type) != column.arrow:
            found.append(f"{contract.name}.{name}: {kind} instead of {column.arrow}")
    if found:  # values can be checked only in columns of the right types
        return found
    frame = _frame(table)
    for name, column in columns.items():
        found += (f"{contract.name}.{name}: {fault}" for fault in _check_values(frame, name, column))
    for low, high in contract.ordered:
        where = columns[low].where
        bad = _rows(frame, where).filter(pl.col(low) >= pl.col(high))
        found += (f"{contract.name}.{low}: {len(bad)} not less than {high}" for _ in bad.head(1).iter_rows())
    for key in contract.keys:
        rows = _rows(frame, key.where).select(key.columns)
        repeated = rows.filter(rows.is_duplicated())
        found += (f"{contract.name}: {len(repeated)} rows share {key.columns}, as {row}" for row in _first(repeated))
    return found


def check_references(contract: OutputTable, tables: Tables) -> list[str]:
    """Return which references of a table resolve to no row, or to no table.

    Args:
        contract: The table's contract.
        tables: The table, and those that it refers to.
    """
    found = []
    frame = _frame(_plain(tables[contract.stage, contract.name]))
    for reference in contract.references:
        name = f"{reference.stage}.{reference.table}"
        target = list(reference.target or reference.columns)
        if (reference.stage, reference.table) not in tables:
            found.append(f"{contract.name}: refers to {name}, which is missing")
            continue
        others = _frame(_plain(tables[reference.stage, reference.table]).select(target))
        rows = _rows(frame, reference.where).select(reference.columns).drop_nulls()
        lost = rows.join(others, left_on=reference.columns, right_on=target, how="anti")
        found += (f"{contract.name}: {len(lost)} rows are not in {name}, as {row}" for row in _first(lost))
    return found


def _check_values(frame: pl.DataFrame, name: str, column: OutputColumn) -> Iterator[str]:
    """Yield the rules that values of a column break."""
    rows, value = _rows(frame, column.where), pl.col(name)
    if column.filled and (nulls := rows[name].null_count()):
        yield f"{nulls} missing"
    if column.else_null and column.where and (count := len(frame) - frame[name].null_count() - rows[name].count()):
        yield f"{count} where there must be none"
    faults = []
    if column.limits:
        low, high = column.limits
        faults.append((~value.is_between(low, high), f"outside {low:g} to {high:g}"))
    if column.allowed:
        faults.append((~value.is_in(column.allowed), "not allowed"))
    if column.pattern:
        faults.append((~value.str.contains(column.pattern), f"not like {column.pattern}"))
    for fault, text in faults:
        bad = rows.filter(fault)
        yield from (f"{len(bad)} {text}, as {example!r}" for (example,) in _first(bad.select(name)))


def _rows(frame: pl.DataFrame, where: Where | None) -> pl.DataFrame:
    if where is None:
        return frame
    chosen = pl.col(where.column).is_in(where.values)
    return frame.filter(~chosen if where.but else chosen)


def _first(rows: pl.DataFrame) -> list[tuple[object, ...]]:
    return rows.head(1).rows()


def _frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _plain(table: pa.Table) -> pa.Table:
    """Decode dictionaries: how a file stores text is no part of the contract."""
    types = [(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in table.schema]
    return table.cast(pa.schema(types))
