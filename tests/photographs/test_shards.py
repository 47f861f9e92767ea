"""Photographs in Parquet files and tar archives are the same photographs as in a folder."""

import io
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml.errors import DataError
from ml.photographs.opening import open_photographs
from ml.photographs.source import NOTEBOOK, Columns, Key

FILES = {
    Key("train", "a" * 16): b"one",
    Key("train", "b" * 16): b"two" * 100,
    Key("validation", "c" * 16): b"three",
    Key("test", "a" * 16): b"four",
}


def write_table(path, files=FILES, columns=NOTEBOOK, row_group_size=2):
    rows = {
        columns.image_id: [key.image_id for key in files],
        columns.subset: [key.subset for key in files],
        columns.data: pa.array(files.values(), pa.binary()),
        "Other": list(range(len(files))),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(rows), path, row_group_size=row_group_size)


def write_tar(path, files=FILES, name="{key.subset}/{key.image_id}.jpg", others=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if path.suffix in (".gz", ".tgz") else "w") as archive:
        for member, content in [*((name.format(key=key), value) for key, value in files.items()), *others]:
            info = tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def of_subset(subset):
    return {key: content for key, content in FILES.items() if key.subset == subset}


def parquet_file(folder):
    write_table(folder / "images.parquet")
    return folder / "images.parquet"


def parquet_files(folder):
    for number, (key, content) in enumerate(FILES.items()):
        write_table(folder / f"part-{number}.snappy.parquet", {key: content})
    (folder / "_SUCCESS").touch()
    (folder / ".part-0.crc").touch()
    return folder


def published_archives(folder):
    for subset in ("train", "validation", "test"):
        write_tar(folder / f"{subset}_0.tar.gz", of_subset(subset), f"{subset}_0/{{key.image_id}}.jpg")
    return folder


def webdataset(folder):
    for subset in ("train", "validation", "test"):
        others = [("000.json", b"{}"), ("._hidden.jpg", b"?")]
        write_tar(folder / f"{subset}-000000.tar", of_subset(subset), "{key.image_id}.jpg", others)
    return folder


def one_archive(folder):
    write_tar(folder / "all.tar")
    return folder / "all.tar"


@pytest.fixture(params=[parquet_file, parquet_files, published_archives, webdataset, one_archive])
def photographs(request, tmp_path):
    return open_photographs(str(request.param(tmp_path / "photographs")))


def test_each_photograph_is_read_and_listed(photographs):
    assert photographs.exists()
    assert {Key(*listed[:2]) for listed in photographs.list()} == FILES.keys()
    assert {key: photographs.read(*key) for key in FILES} == FILES
    with pytest.raises(FileNotFoundError, match="validation/aaaa"):
        photographs.read("validation", "a" * 16)


def test_the_shards_hold_each_photograph_once(photographs):
    found = [pair for shard in photographs.shards() for pair in photographs.read_shard(shard, None)]
    assert len(found) == len(FILES)
    assert dict(found) == FILES


def test_only_wanted_photographs_are_read(photographs):
    wanted = {Key("train", "b" * 16), Key("validation", "c" * 16), Key("test", "e" * 16)}
    found = dict(pair for shard in photographs.shards() for pair in photographs.read_shard(shard, wanted))
    assert found == {key: FILES[key] for key in wanted & FILES.keys()}


def test_the_digest_changes_with_any_file(photographs, tmp_path):
    before = photographs.digest()
    assert open_photographs(photographs.uri).digest() == before
    folder = tmp_path / "photographs"
    file = next(path for path in sorted(folder.iterdir()) if path.stat().st_size)
    if file.suffix == ".parquet":
        write_table(file, {Key("train", "f" * 16): b"other"})
    else:
        write_tar(file, {Key("train", "f" * 16): b"other"})
    assert photographs.digest() != before


def test_other_columns_are_configured(tmp_path):
    columns = Columns.parse("id, split, jpeg")
    write_table(tmp_path / "images.parquet", columns=columns)
    source = open_photographs(str(tmp_path), columns)
    assert {key: source.read(*key) for key in FILES} == FILES
    plain = open_photographs(str(tmp_path))
    assert plain.digest() != source.digest()
    with pytest.raises(DataError, match=r"images\.parquet lacks the column ImageID, Subset, Data \(it has id, split"):
        plain.shards()


def test_an_image_without_bytes_is_an_empty_photograph(tmp_path):
    write_table(tmp_path / "images.parquet", {Key("train", "a"): None})
    source = open_photographs(str(tmp_path))
    assert source.read("train", "a") == b""


def test_row_groups_are_divided_into_tasks_and_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr("ml.photographs.parquet_shards.SHARD_BYTES", 1)
    source = open_photographs(str(parquet_file(tmp_path)))
    assert [shard.row_groups for shard in source.shards()] == [(0,), (1,)]
    assert [list(source.read_shard(shard, {Key("test", "a" * 16)})) for shard in source.shards()] == [
        [],
        [(Key("test", "a" * 16), b"four")],
    ]


def test_a_tar_archive_that_tells_no_subset_is_read_by_image_id_and_cannot_be_listed(tmp_path):
    write_tar(tmp_path / "photographs.tar", of_subset("validation"), "{key.image_id}.jpg")
    source = open_photographs(str(tmp_path))
    key = Key("validation", "c" * 16)
    assert dict(source.read_shard(source.shards()[0], {key})) == {key: b"three"}
    assert source.read(*key) == b"three"
    with pytest.raises(DataError, match="The subset of photograph cccc"):
        list(source.list())


def test_the_nearest_folder_tells_the_subset_of_a_member(tmp_path):
    write_tar(tmp_path / "train.tar", name="training-data/{key.subset}/{key.image_id}.jpg")
    assert {Key(each.subset, each.image_id) for each in open_photographs(str(tmp_path)).list()} == set(FILES)


@pytest.mark.parametrize("name", ["all.tar", "all.tar.gz", "all.parquet"])
def test_a_file_cut_short_is_an_error_that_names_it(tmp_path, name):
    path = tmp_path / name
    files = {Key("train", f"{number:016x}"): bytes([number]) * 9000 for number in range(9)}
    write_table(path, files) if name.endswith("parquet") else write_tar(path, files)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    source = open_photographs(str(path))
    with pytest.raises(DataError, match=rf"{name} cannot be read as"):
        [list(source.read_shard(shard, None)) for shard in source.shards()]


def test_parquet_files_beside_archives_are_refused(tmp_path):
    write_table(tmp_path / "a.parquet")
    write_tar(tmp_path / "b.tar")
    with pytest.raises(DataError, match="both Parquet files and tar archives"):
        open_photographs(str(tmp_path))
