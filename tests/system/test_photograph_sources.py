"""A release gives the same chips and features, byte for byte, wherever its photographs are."""

import functools
import http.server
import tarfile
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml import storage
from ml.errors import DataError
from ml.features.reader import split_table
from ml.photographs.pack import Sizes, pack
from ml.photographs.source import SUBSETS
from ml.workflow.opening import open_run
from support.spark_stages import do

pytestmark = pytest.mark.slow
SMALL = Sizes(shard=2 << 20, row_group=256 << 10)


def folder(release, out):
    return release


def packed_parquet(release, out):
    pack(str(release), str(out), "parquet", SMALL)
    return out


def packed_tar(release, out):
    pack(str(release), str(out), "tar", SMALL)
    return out


def notebook_table(release, out):
    """One Parquet file as Spark writes it, with rows in another order and another column."""
    files = sorted(release.glob("*/*.jpg"), key=lambda path: path.stem[::-1])
    rows = {
        "Data": pa.array([path.read_bytes() for path in files], pa.binary()),
        "ImageID": [path.stem for path in files],
        "Size": [path.stat().st_size for path in files],
        "Subset": [path.parent.name for path in files],
    }
    pq.write_table(pa.table(rows), out.with_suffix(".parquet"), row_group_size=50, compression="snappy")
    return out.with_suffix(".parquet")


def published_archives(release, out):
    out.mkdir()
    for subset in SUBSETS:
        with tarfile.open(out / f"{subset}_0.tar.gz", "w:gz") as archive:
            for path in (release / subset).glob("*.jpg"):
                archive.add(path, f"{subset}_0/{path.name}")
    return out


@pytest.fixture
def served(sample_release):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(sample_release))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def content(run):
    """The chips in the order of faces, the features of each split, and the ledger of chip."""
    fs = storage.filesystem(run.uri)[0]
    parts = [pq.read_table(storage.filesystem(uri)[1], filesystem=fs) for uri in run.pinned("chip").table("chips")]
    chips = pa.concat_tables(parts).sort_by("face_id")
    features = run.pinned("featurize")
    tensors = {
        split: [pq.read_table(storage.filesystem(uri)[1]) for uri in features.table(split_table(split))]
        for split in SUBSETS
    }
    return chips, tensors, run.pinned("chip").ledger, run.pinned("chip").metrics


def test_the_same_chips_from_every_source(spark, sample_release, tmp_path, served):
    places = {
        make.__name__: str(make(sample_release, tmp_path / make.__name__))
        for make in (folder, packed_parquet, packed_tar, notebook_table, published_archives)
    }
    found = {}
    for name, photographs in {**places, "http": served}.items():
        values = {"release": str(sample_release), "photographs": photographs}
        run = open_run(str(tmp_path / "storage"), name, values)
        found[name] = content(do(spark, run, "extract", "join_labels", "chip", "featurize"))
    chips, tensors, ledger, metrics = found.pop("folder")
    assert ledger["image absent"] > 0
    assert ledger["image unreadable"] > 0
    for name, (other, others, their_ledger, their_metrics) in found.items():
        assert other.equals(chips), name
        assert others == tensors, name
        assert their_ledger == ledger, name
        assert their_metrics == metrics, name


def test_a_photograph_that_is_packed_twice_stops_the_run(spark, sample_release, tmp_path):
    pack(str(sample_release), str(tmp_path / "packed"), "tar", SMALL)
    shard = next((tmp_path / "packed").glob("train-*.tar"))
    shard.with_name("train-copy.tar").write_bytes(shard.read_bytes())
    values = {"release": str(sample_release), "photographs": str(tmp_path / "packed")}
    run = open_run(str(tmp_path / "storage"), "twice", values)
    with pytest.raises(DataError, match=r"hold train/[0-9a-f]{16}\.jpg 2 times"):
        do(spark, run, "extract", "join_labels", "chip")
