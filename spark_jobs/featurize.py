"""featurize: decode the chips to tensors for the network, in shuffled shards by split.

Writes the table `features` with one folder per split, and the table `duplicates` of near-duplicate photographs. The
label index follows the configuration's frozen order, no image and no near-duplicate of it is in two splits, and pixels
are uint8 RGB, row by row, as the network takes them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from ml import disk, storage
from ml.config.training import TrainingConfig
from ml.features.columns import FEATURES, PIXELS, Column, Origin, ddl, names, of_origin
from ml.features.histograms import count_values
from ml.features.overlap import check_overlap
from ml.features.reader import split_table
from ml.features.record import FeaturesRecord, Sums
from ml.flow.profile import Histogram
from ml.guards import check_count
from ml.photographs.source import SUBSETS
from ml.vision import images
from ml.workflow.execution import Context, Result
from spark_jobs.main import main
from spark_jobs.session import observed, read_table, write_table, written
from spark_jobs.splitting import KEYS, NEAR_DUPLICATE, Division, divide, read_authors, read_photographs

SHARD_BYTES = 64 << 20  # large enough to read fast, small enough to shuffle and to keep a few in memory
CHANNELS = ("red", "green", "blue")
SPLIT = Column("split", "string", Origin.FACE)
SUMS = tuple(Column(channel, "long", Origin.PIXELS) for channel in CHANNELS)  # counted, not written
SCHEMA = (SPLIT, *FEATURES, *SUMS, PIXELS)
CARRIED = (SPLIT, *(column for column in FEATURES if column not in of_origin(Origin.PIXELS)))  # copied from the chips


def label_index(config: TrainingConfig) -> SparkColumn:
    """Return a label's index in the configuration's order, which, unlike frequency, is stable between trainings."""
    order = F.array(*(F.lit(label) for label in config.label_order))
    return F.array_position(order, F.col("name")) - 1


def with_split(chips: DataFrame, kept: DataFrame) -> DataFrame:
    """Add the column `split`, and leave out the chips of photographs that are not kept.

    Args:
        chips: The chips.
        kept: The photographs to keep, see `spark_jobs.splitting.Division.kept`.
    """
    return chips.join(F.broadcast(kept), list(KEYS))


def shuffle(chips: DataFrame, shards: int) -> DataFrame:
    """Shuffle the faces over and within shards by a digest of the face id, so the order is always the same.

    Each shard is thus a random sample of the faces. Training's seed shuffles further, as the shards are read.
    """
    order = F.xxhash64("face_id")
    return (
        chips.withColumn("order", order)
        .repartition(shards, "order")
        .sortWithinPartitions("split", "order", "face_id")
        .drop("order")
    )


def to_tensors(chips: DataFrame, chip_size: int) -> DataFrame:
    """Decode each chip to the network's input size, and measure its brightness and the sums of its channels.

    Brightness is the mean luma by ITU-R BT.601 as a share of 255, in [0, 1]. The reader of features checks the sums.
    """
    return chips.mapInArrow(_decoder(chip_size), ddl(SCHEMA))


def _decoder(chip_size: int) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the function that Spark's Python workers run over batches of chips."""

    def decode(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            tensors = [images.decode_chip(chip, chip_size) for chip in batch.column("chip").to_pylist()]
            sums = np.array([tensor.sum(axis=(0, 1), dtype=np.int64) for tensor in tensors]).reshape(-1, 3)
            columns = {column.name: batch.column(column.name) for column in CARRIED}
            columns["brightness"] = pa.array(sums @ images.LUMA / (255 * chip_size**2))
            columns |= {name: pa.array(sums[:, i]) for i, name in enumerate(CHANNELS)}
            columns["pixels"] = pa.array([tensor.tobytes() for tensor in tensors], pa.binary())
            yield pa.RecordBatch.from_arrays([columns[name] for name in names(SCHEMA)], names(SCHEMA))

    return decode


def run(spark: SparkSession, context: Context) -> Result:
    """Decode the chips and write the features."""
    config, source = context.config, context.inputs["chip"]
    faces, face_bytes = source.rows("chips"), config.chip_size**2 * 3
    disk.check_space(context.uri, faces * face_bytes, f"{faces} faces of {config.chip_size} pixels a side")
    division = divide_photographs(context)
    chips = with_split(read_table(spark, source.table("chips")), spark.createDataFrame(division.kept()))
    chips = chips.withColumnRenamed("label", "name").withColumn("label", label_index(config).cast("tinyint"))
    shards = max(1, round(faces * face_bytes / SHARD_BYTES))
    features = to_tensors(shuffle(chips.select(*names(CARRIED), "chip"), shards), config.chip_size)
    counts = Observation("features")
    features = features.observe(counts, *(column.alias(name) for name, column in _counts(config.label_order).items()))
    write_table(features.drop(*CHANNELS), context, "features", partition_by="split")
    check_overlap({split: written(context, split_table(split)) for split in SUBSETS})
    record = _record(observed(counts), config, source.config["margin"], count_values(written(context, "features")))
    ledger = {split: sum(record.faces[split].values()) for split in SUBSETS}
    ledger[NEAR_DUPLICATE] = division.faces_left_out
    check_count(faces, sum(ledger.values()), "Chips that became features")
    return Result(record, ledger)


def _counts(labels: Sequence[str]) -> dict[str, SparkColumn]:
    """Return the face counts and the channel sums of each split and label."""
    counts = {}
    for split, (index, label) in itertools.product(SUBSETS, enumerate(labels)):
        here = (F.col("split") == split) & (F.col("label") == index)
        counts[f"{split}.{label}"] = F.count_if(here)
        counts |= {f"{split}.{label}.{name}": F.sum(F.when(here, F.col(name))) for name in CHANNELS}
    return counts


def _record(
    seen: Mapping[str, int], config: TrainingConfig, margin: float, histograms: Mapping[str, Histogram]
) -> FeaturesRecord:
    labels = tuple(config.label_order)
    sums = {split: {label: _sums(seen, f"{split}.{label}") for label in labels} for split in SUBSETS}
    return FeaturesRecord(
        labels=labels,
        chip_size=config.chip_size,
        chip_class=config.chip_class,
        margin=margin,
        faces={split: {label: seen[f"{split}.{label}"] for label in labels} for split in SUBSETS},
        channel_sums={split: _added(sums[split].values()) for split in SUBSETS},
        label_sums=sums,
        histograms=dict(histograms),
    )


def _sums(seen: Mapping[str, int], which: str) -> Sums:
    red, green, blue = (seen[f"{which}.{channel}"] for channel in CHANNELS)
    return red, green, blue


def _added(sums: Iterable[Sums]) -> Sums:
    red, green, blue = map(sum, zip(*sums, strict=True))
    return red, green, blue


def divide_photographs(context: Context) -> Division:
    """Divide the photographs among the splits, and write the table `duplicates` of the near-duplicates among them."""
    photographs = read_photographs(context.inputs["chip"].table("chips"))
    by_author = context.config.split == "digest"
    authors = read_authors(context.inputs["extract"].table("images"), photographs) if by_author else []
    division = divide(photographs, authors, context.config)
    buffer = pa.BufferOutputStream()
    pq.write_table(division.duplicates(), buffer)
    storage.write_bytes(context.path("duplicates", "part-00000.parquet"), buffer.getvalue().to_pybytes())
    return division


if __name__ == "__main__":
    main("featurize", run)
