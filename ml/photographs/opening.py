"""Recognize what kind of source holds the photographs at an address."""

from __future__ import annotations

from ml import storage
from ml.errors import DataError
from ml.photographs.files import FolderPhotographs, HttpPhotographs
from ml.photographs.shard_files import PARQUET, TAR, is_shard
from ml.photographs.source import NOTEBOOK, SUBSETS, Columns, Photographs
from ml.photographs.tar_shards import TarPhotographs

NOTE = "pack.json"  # written beside shards that `python -m ml pack` makes, first and last


def open_photographs(uri: str, columns: Columns = NOTEBOOK) -> Photographs:
    """Return the photographs at a path, a URI or an HTTP(S) address.

    A folder that holds a folder of a subset holds single files; any other folder with Parquet files or tar archives
    holds shards.

    Args:
        uri: A folder, a Parquet file, a tar archive, or an HTTP(S) address.
        columns: The columns of Parquet tables.

    Raises:
        DataError: A folder holds both Parquet files and tar archives, or shards of an unfinished `pack`.
    """
    uri = storage.normalize(uri)
    if uri.startswith(("http://", "https://")):
        return HttpPhotographs(uri)
    fs, path = storage.filesystem(uri)
    if not fs.isdir(path):
        names = [path]
    elif any(fs.exists(f"{path}/{subset}") for subset in SUBSETS):
        return FolderPhotographs(uri)
    else:
        names = fs.ls(path, detail=False)
    parquet = any(is_shard(name, PARQUET) for name in names)
    tar = any(is_shard(name, TAR) for name in names)
    if parquet and tar:
        raise DataError(
            f"{uri} holds both Parquet files and tar archives.", "Keep the photographs in files of one kind."
        )
    note = storage.join(uri, NOTE)
    if (parquet or tar) and storage.exists(note) and not storage.read_json(note)["complete"]:
        raise DataError(f"Not all photographs are packed in {uri}.", "Run `python -m ml pack` again.")
    if parquet:
        from ml.photographs.parquet_shards import ParquetPhotographs  # loads pyarrow, which DAG files must not

        return ParquetPhotographs(uri, columns)
    return TarPhotographs(uri) if tar else FolderPhotographs(uri)
