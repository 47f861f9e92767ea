"""How many partitions the shuffles of a stage have."""

import pytest
from pyspark import SparkConf

from ml.workflow.manifest import File, Manifest
from spark_jobs.session import PARTITIONS, fit_partitions


def manifest(*sizes):
    files = [File(path=f"table/{number}.parquet", bytes=size, rows=1) for number, size in enumerate(sizes)]
    return Manifest.model_construct(files=files, parts={})


@pytest.mark.parametrize(("megabytes", "partitions"), [(0.1, 2), (160, 10), (161, 11)])
def test_the_size_of_the_data_decides_and_no_core_stays_idle(spark, monkeypatch, megabytes, partitions):
    monkeypatch.setattr(spark.sparkContext, "getConf", lambda: SparkConf(loadDefaults=False))
    other = spark.newSession()
    other.conf.set(PARTITIONS, 200)
    half = int(megabytes * (1 << 20)) // 2
    fit_partitions(other, [manifest(half), manifest(half // 2, half // 2)])
    assert int(other.conf.get(PARTITIONS)) == partitions


def test_what_spark_submit_was_told_stands(spark):
    other = spark.newSession()
    fit_partitions(other, [manifest(1 << 40)])
    assert int(other.conf.get(PARTITIONS)) == 2
