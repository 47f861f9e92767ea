"""Make the class-data archive: `python -m spark_jobs.class_data`, which `make setup` runs.

A JVM does what the stages do on a few rows, and writes the classes that it loaded as it exits.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
from pyspark import SparkContext
from pyspark.sql import Observation, SparkSession, Window
from pyspark.sql import functions as F

from ml.class_data import FIRST_COMPILER, SUBMIT_OPTIONS, archive_path, folder, quoted
from ml.environment import job_environment
from ml.errors import ConfigurationError, ResourceError
from ml.java import java_home
from ml.logs import log_to_stderr
from spark_jobs.session import observed, session

log = logging.getLogger(__name__)
COLUMNS = ("ImageID", "LabelName", "Confidence", "XMin")
EXIT_SECONDS = 300  # writing takes some seconds, and many on a busy machine


def make_archive() -> Path:
    """Make the archive for this Java and this pyspark, and remove all others.

    Returns:
        The archive. One that exists is kept.

    Raises:
        ConfigurationError: There is no suitable Java.
        ResourceError: The JVM wrote no archive.
    """
    java = java_home()
    archive = archive_path(java)
    if archive.is_file():
        return archive
    started = time.monotonic()
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
        made = Path(scratch) / "made.jsa"
        os.environ |= {
            **job_environment(),
            "JAVA_HOME": str(java),
            "PYSPARK_PYTHON": sys.executable,
            "SPARK_LOCAL_IP": "127.0.0.1",
            SUBMIT_OPTIONS: f"{FIRST_COMPILER} {quoted(f'-XX:ArchiveClassesAtExit={made}')} -Xlog:disable",
        }
        _load_classes(Path(scratch))
        if not made.is_file():
            raise ResourceError("Java wrote no class-data archive.", "Spark works without one; its jobs start later.")
        for other in folder().glob("*.jsa"):
            other.unlink()
        made.replace(archive)
    log.info("made %s of %d MB in %.0f s", archive, archive.stat().st_size >> 20, time.monotonic() - started)
    return archive


def _load_classes(scratch: Path) -> None:
    """Start Spark, do on a few rows what the stages do, and wait until the JVM has exited."""
    conf: dict[str, bool | float | int | str | None] = {
        "spark.master": "local[2]",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
        "spark.log.level": "ERROR",
    }
    SparkSession.builder.config(map=conf).getOrCreate()
    spark = session("class data")
    _touch(spark, scratch)
    gateway = SparkContext._gateway
    spark.stop()
    assert gateway is not None  # the session's
    gateway.shutdown()
    gateway.proc.stdin.close()  # on which the JVM exits
    gateway.proc.wait(EXIT_SECONDS)


def _touch(spark: SparkSession, scratch: Path) -> None:
    """Read and write CSV and Parquet, type, join, aggregate, sort and observe, and run Python on Arrow batches."""
    text = scratch / "rows.csv"
    text.write_text(",".join(COLUMNS) + "\n" + "".join(f"{i:016x},/m/{i % 3},1,0.{i}\n" for i in range(9)))
    table, seen, written = str(scratch / "rows"), Observation("rows"), Observation("written")
    rows = (
        spark.read.csv(str(text), header=True, schema=", ".join(f"{name} string" for name in COLUMNS))
        .withColumn("positive", F.col("Confidence").try_cast("double") == 1)
        .withColumn("x_min", F.col("XMin").try_cast("double"))
        .observe(
            seen, F.count(F.lit(1)).alias("rows"), F.min("ImageID").alias("example"), F.count_if("positive").alias("n")
        )
    )
    rows.write.parquet(table)
    observed(seen)
    rows = spark.read.parquet(table)
    digest = F.sha2(F.concat(F.lit("split:"), "ImageID"), 256)
    first = Window.partitionBy("ImageID").orderBy("x_min")
    grouped = rows.groupBy("ImageID").agg(
        F.collect_list(F.struct("LabelName", "x_min")).alias("boxes"), F.max("positive")
    )
    classes = spark.createDataFrame([("/m/1", "one"), ("/m/2", "two")], "LabelName string, name string")
    joined = (
        rows.join(F.broadcast(classes), "LabelName", "left")
        .join(grouped.hint("shuffle_merge"), "ImageID")
        .withColumn("rank", F.row_number().over(first))
        .withColumn("split", F.when(digest < "8", "train").otherwise("test"))
        .repartition(2, "ImageID")
        .sortWithinPartitions("ImageID", "x_min")
        .mapInArrow(_pass_on, "ImageID string, split string, pixels binary")
        .observe(written, F.count_if(F.col("split") == "train").alias("train"))
    )
    joined.write.parquet(f"{table}-out", partitionBy="split")
    observed(written)
    result = spark.read.parquet(f"{table}-out")
    result.groupBy("split").agg(F.collect_set("ImageID"), F.count("*")).orderBy("split").collect()
    result.select("ImageID").distinct().count()


def _pass_on(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        pixels = pa.array([b"0"] * batch.num_rows, pa.binary())
        columns = [batch.column("ImageID"), batch.column("split"), pixels]
        yield pa.RecordBatch.from_arrays(columns, ["ImageID", "split", "pixels"])


def main() -> None:
    """Make the archive; report an expected error in one line."""
    log_to_stderr()
    try:
        make_archive()
    except (ConfigurationError, ResourceError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
