"""The same inputs give the same content of every file, however Spark divides the work.

All sessions share one JVM with two cores, whose settings here stand for other machines: `spark.default.parallelism` is
what Spark takes for the number of cores (jobs derive the number of shuffle partitions from it), and
`spark.sql.leafNodeDefaultParallelism` divides the files that it reads. The drawn release fits in one piece of each
kind, so ranges, slices, buckets, tasks and shards are made small enough that every stage has many of them; in one
case their rows arrive in another order, as they may on a cluster: one JVM always fetches in the order of the tasks. In
tests/system/test_cluster.py there are workers of their own.
"""

import functools

import pytest

from ml.workflow.content import content_files, first_difference
from ml.workflow.opening import open_run
from spark_jobs import buckets, chip, extract, featurize, ranges
from spark_jobs.session import PARTITIONS, read_table
from support.spark_stages import BODIES, do

pytestmark = pytest.mark.slow
READ_PARTITIONS, OPEN_COST = "spark.sql.leafNodeDefaultParallelism", "spark.sql.files.openCostInBytes"
CORES = "spark.default.parallelism"
TABLES = {  # with several files each
    "extract": ("boxes", "labels", "images", "miap"),
    "join_labels": ("faces",),
    "chip": ("chips",),
    "featurize": ("features/split=train", "features/split=test"),
}


@pytest.fixture
def small_pieces(monkeypatch):
    """Divide the drawn release into many pieces, by sizes that do not depend on the machine."""
    monkeypatch.setattr(extract, "divide", functools.partial(extract.divide, range_bytes=4096))
    monkeypatch.setattr(ranges, "SMALL_TASK", 8192)
    monkeypatch.setattr(buckets, "ROWS_PER_SLICE", 50)
    monkeypatch.setattr(buckets, "ROWS_PER_BUCKET", 200)
    monkeypatch.setattr(chip, "divide", functools.partial(chip.divide, faces_per_task=10))
    monkeypatch.setattr(featurize, "SHARD_BYTES", 32 << 10)


@pytest.fixture
def divided(spark):
    """Let Spark divide work as on a machine with some number of cores; the session is as before after the test."""
    names = (PARTITIONS, READ_PARTITIONS, OPEN_COST)
    before = {name: spark.conf.get(name, None) for name in names}
    conf = spark.sparkContext._jsc.sc().conf()  # Spark's own, which it asks for the parallelism of each job

    def divided_(partitions):
        conf.set(CORES, str(partitions))
        for name, value in zip(names, (partitions, partitions, 1), strict=True):
            spark.conf.set(name, value)
        assert spark.sparkContext.defaultParallelism == partitions

    yield divided_
    conf.remove(CORES)
    for name, value in before.items():
        if value is None:
            spark.conf.unset(name)
        else:
            spark.conf.set(name, value)


def manifests(spark, storage, release, **values):
    run = do(spark, open_run(str(storage), "run", {"release": str(release), "chip_size": 32, **values}), *BODIES)
    return {stage: run.pinned(stage) for stage in BODIES}


ONE, TWO, FOUR, OPPOSITE = (1, 1), (2, 1), (4, 1), (4, -1)  # partitions, and the order in which rows arrive


@pytest.mark.parametrize(
    ("values", "others"),
    [({}, (ONE, TWO, FOUR, OPPOSITE)), ({"images_per_label": 12, "split": "digest"}, (OPPOSITE,))],
    ids=["default", "limited"],
)
def test_content_does_not_depend_on_how_spark_divides_the_work(
    spark, small_pieces, divided, sample_release, tmp_path, monkeypatch, values, others
):
    pack = buckets.pack
    # Spark would leave out a sort before the exchange of featurize.
    read = {1: read_table, -1: lambda *table: read_table(*table).repartition(3, "image_id")}
    found, reads = [], []
    for number, (partitions, order) in enumerate((ONE, *others)):  # the first one twice by default
        divided(partitions)
        monkeypatch.setattr(buckets, "pack", lambda slices, order=order: pack(slices)[::order])
        monkeypatch.setattr(featurize, "read_table", read[order])
        found.append(manifests(spark, tmp_path / str(number), sample_release, **values))
        reads.append(read_table(spark, found[-1]["chip"].table("chips")).rdd.getNumPartitions())
    assert len(set(reads)) == len({partitions for partitions, _ in (ONE, *others)})
    first = found.pop(0)
    for stage, tables in TABLES.items():
        for table in tables:
            assert sum(f"{table}/" in file for file in content_files(first[stage])) > 1, table
    for how, manifests_ in zip(others, found, strict=True):
        for stage, manifest in manifests_.items():
            assert first_difference(first[stage], manifest) is None, f"{stage}, {how}"
            assert (manifest.key, manifest.ledger) == (first[stage].key, first[stage].ledger)
            assert manifest.metrics == first[stage].metrics, f"{stage}, {how}"
