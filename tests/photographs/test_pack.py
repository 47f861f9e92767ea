"""A packed folder holds the same photographs, in files of the stated size."""

import pyarrow.parquet as pq
import pytest

from ml import storage
from ml.errors import ConfigurationError, DataError
from ml.photographs import pack as packing
from ml.photographs.files import FolderPhotographs
from ml.photographs.opening import open_photographs
from ml.photographs.source import Key

FILES = {
    Key(subset, f"{number:016x}"): bytes([number]) * 1000 for number, subset in enumerate(["train"] * 9 + ["test"])
}
SIZES = packing.Sizes(shard=4000, row_group=2000)


@pytest.fixture
def folder(tmp_path):
    for (subset, image_id), content in FILES.items():
        (tmp_path / "photographs" / subset).mkdir(parents=True, exist_ok=True)
        (tmp_path / "photographs" / subset / f"{image_id}.jpg").write_bytes(content)
    return str(tmp_path / "photographs")


@pytest.fixture(params=["folder", "bucket"])
def out(request, tmp_path):
    yield str(tmp_path / "packed") if request.param == "folder" else "memory://packed"
    storage.remove("memory://packed")


@pytest.mark.parametrize("form", ["parquet", "tar"])
def test_a_packed_folder_holds_the_same_photographs(folder, out, form):
    note = packing.pack(folder, out, form, SIZES)
    assert (note.photographs, note.bytes, note.shards, note.absent) == (10, 10_000, 4, 0)
    source = open_photographs(out)
    assert {key: source.read(*key) for key in FILES} == FILES
    names = sorted(file.rpartition("/")[2] for file in source.files())
    assert names == [f"{name}.{form}" for name in ("test-00000", "train-00001", "train-00002", "train-00003")]
    for shard in source.shards():
        assert len({key.subset for key, _ in source.read_shard(shard, None)}) == 1


def test_row_groups_have_the_stated_size(folder, tmp_path):
    packing.pack(folder, str(tmp_path / "packed"), "parquet", SIZES)
    file = pq.ParquetFile(tmp_path / "packed" / "train-00001.parquet")
    assert [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)] == [2, 2]


@pytest.mark.parametrize("form", ["parquet", "tar"])
def test_the_same_photographs_give_the_same_bytes(folder, tmp_path, form):
    for name in ("one", "two"):
        packing.pack(folder, str(tmp_path / name), form, SIZES)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_an_interrupted_pack_is_not_read_and_is_replaced(folder, out, monkeypatch):
    whole = FolderPhotographs.read

    def interrupted(self, subset, image_id):
        if image_id == f"{7:016x}":
            raise KeyboardInterrupt
        return whole(self, subset, image_id)

    monkeypatch.setattr(FolderPhotographs, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        packing.pack(folder, out, "tar", SIZES)
    with pytest.raises(DataError, match="Not all photographs are packed in"):
        open_photographs(out)
    monkeypatch.undo()
    assert packing.pack(folder, out, "parquet", SIZES).complete
    source = open_photographs(out)
    assert {key: source.read(*key) for key in FILES} == FILES


def test_a_folder_that_holds_photographs_is_not_written_to(folder, tmp_path):
    packing.pack(folder, str(tmp_path / "packed"), "tar", SIZES)
    for taken in (folder, str(tmp_path / "packed")):
        with pytest.raises(ConfigurationError, match="holds photographs already"):
            packing.pack(folder, taken, "parquet", SIZES)


def test_what_cannot_be_packed_is_refused(folder, tmp_path):
    packing.pack(folder, str(tmp_path / "packed"), "tar", SIZES)
    with pytest.raises(DataError, match="is not a folder of single photographs"):
        packing.pack(str(tmp_path / "packed"), str(tmp_path / "again"), "tar", SIZES)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no photographs"):
        packing.pack(str(tmp_path / "empty"), str(tmp_path / "again"), "tar", SIZES)


def test_a_photograph_that_vanishes_is_counted(folder, tmp_path, monkeypatch):
    whole = FolderPhotographs.read

    def gone(self, subset, image_id):
        if image_id == f"{7:016x}":
            raise FileNotFoundError(image_id)
        return whole(self, subset, image_id)

    monkeypatch.setattr(FolderPhotographs, "read", gone)
    note = packing.pack(folder, str(tmp_path / "packed"), "tar", SIZES)
    assert (note.photographs, note.absent) == (9, 1)
