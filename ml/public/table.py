"""A table that a stage has left: Parquet files, read with the library of your choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from ml import storage
from ml.workflow.manifest import Manifest

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["Table"]

SUFFIX = ".parquet"

D = TypeVar("D", covariant=True)


class SparkReader(Protocol[D]):
    """The part of a DataFrameReader that reads Parquet files."""

    def parquet(self, *paths: str) -> D:
        """Read Parquet files."""


class SparkSession(Protocol[D]):
    """The part of a Spark session that reads tables; `ml` does not import Spark."""

    @property
    def read(self) -> SparkReader[D]:
        """The reader."""


@dataclass(frozen=True)
class Table:
    """A table of a run.

    Attributes:
        stage: The stage that wrote it.
        name: Its name, such as `faces`. The data contract describes its columns.
        files: The URIs of its Parquet files, in order.
        rows: The number of its rows.
    """

    stage: str
    name: str
    files: tuple[str, ...]
    rows: int

    def arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read the table into memory as an Arrow table.

        Args:
            columns: The columns to read; by default all. Pixels and chips are large: leave out what you do not need.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        parts = []
        for uri in self.files:
            with storage.open_read(uri) as file:
                parts.append(pq.read_table(file, columns=None if columns is None else list(columns)))
        return pa.concat_tables(parts, promote_options="default") if parts else pa.table({})

    def pandas(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read the table into memory as a pandas DataFrame.

        Args:
            columns: The columns to read; by default all.
        """
        frame: pd.DataFrame = self.arrow(columns).to_pandas()
        return frame

    def spark(self, session: SparkSession[D]) -> D:
        """Return the table as a Spark DataFrame.

        Args:
            session: Your Spark session; for a root in an object store, it needs that store's packages and keys.
        """
        return session.read.parquet(*(storage.hadoop_uri(uri) for uri in self.files))


def tables_of(manifest: Manifest) -> dict[str, Table]:
    """Return the tables that an attempt has written, by name."""
    rows: dict[str, dict[str, int]] = {}
    for part in manifest.of_deliveries():
        for file in part.files:
            if file.path.endswith(SUFFIX):  # in the table's folder, or the whole table
                name = file.path.partition("/")[0].removesuffix(SUFFIX)
                rows.setdefault(name, {})[storage.join(part.uri, file.path)] = file.rows or 0
    return {name: Table(manifest.stage, name, tuple(found), sum(found.values())) for name, found in rows.items()}
