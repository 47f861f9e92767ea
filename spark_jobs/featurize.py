"""featurize: chips as tensors for the network, in shuffled shards by split.

Table written: `features`, in a folder for each split. The label index is that of the configuration's frozen order; no
image lies on two sides of the split; pixels are uint8 RGB, row by row, as the network takes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from ml import storage
from ml.config.training import TrainingConfig
from ml.guards import check_count, check_faults, check_split
from ml.release.layout import SUBSETS
from ml.vision import images
from ml.workflow.execution import Context, Result
from spark_jobs.job import main, observed, read_table, write_table

SHARD_BYTES = 64 << 20  # large enough to read fast, small enough to shuffle and to hold a few in memory
SCHEMA = (
    "split string, face_id string, image_id string, label tinyint, rotation int, face_px double, is_occluded tinyint, "
    "is_truncated tinyint, source string, miap_label string, age_presentation string, "
    "brightness double, red long, green long, blue long, pixels binary"
)
CHANNELS = ("red", "green", "blue")
MADE = ("brightness", *CHANNELS, "pixels")  # of the pixels; the other columns come with the chips
LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue in the luma of ITU-R BT.601


def label_index(config: TrainingConfig) -> Column:
    """The label's place in the configuration's order: never by frequency, so it cannot flip between retrainings."""
    order = F.array(*(F.lit(label) for label in config.label_order))
    return F.array_position(order, F.col("name")) - 1


def split_of(config: TrainingConfig) -> Column:
    """The side of the split that an image is on: its official subset, or by digest of its id."""
    if config.split == "official":
        return F.col("subset")
    # The first eight hexadecimal digits as a number in [0, 1).
    digest = F.substring(F.sha2(F.concat(F.lit("split:"), "image_id"), 256), 1, 8)
    place = F.conv(digest, 16, 10).cast("double") / float(1 << 32)
    return (
        F.when(place < config.test_share, "test")
        .when(place < config.test_share + config.validation_share, "validation")
        .otherwise("train")
    )


def shuffle(chips: DataFrame, seed: int, shards: int) -> DataFrame:
    """Spread the faces over shards and order them in each by a digest of seed and face: the same order each time."""
    order = F.xxhash64(F.lit(seed), "face_id")
    return (
        chips.withColumn("order", order)
        .repartition(shards, "order")
        .sortWithinPartitions("split", "order", "face_id")
        .drop("order")
    )


def to_tensors(chips: DataFrame, chip_size: int) -> DataFrame:
    """Decode each chip to the network's input size, and tell its brightness and the sums of its channels.

    Brightness is the mean luma by ITU-R BT.601 as a share of 255, in [0, 1]; the sums are for the readers' check.
    """
    return chips.mapInArrow(_decoder(chip_size), SCHEMA)


def _decoder(chip_size: int) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def decode(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            tensors = [images.decode_chip(chip, chip_size) for chip in batch.column("chip").to_pylist()]
            sums = np.array([tensor.sum(axis=(0, 1), dtype=np.int64) for tensor in tensors]).reshape(-1, 3)
            kept = batch.drop_columns(["chip"])
            columns = {name: kept.column(name) for name in kept.schema.names}
            columns["brightness"] = pa.array(sums @ LUMA / (255 * chip_size**2))  # in the order of SCHEMA
            columns |= {name: pa.array(sums[:, i]) for i, name in enumerate(CHANNELS)}
            columns["pixels"] = pa.array([tensor.tobytes() for tensor in tensors], pa.binary())
            yield pa.RecordBatch.from_pydict(columns)

    return decode


def run(spark: SparkSession, context: Context) -> Result:
    """Make the features of the chips."""
    config, source = context.config, context.inputs["chip"]
    faces, face_bytes = source.rows("chips"), config.chip_size**2 * 3
    storage.check_space(context.uri, faces * face_bytes, f"{faces} faces of {config.chip_size} pixels a side")
    chips = read_table(spark, source.table("chips")).withColumn("split", split_of(config))
    chips = chips.withColumnRenamed("label", "name").withColumn("label", label_index(config).cast("tinyint"))
    _check_chips(chips, config)

    shards = max(1, round(faces * face_bytes / SHARD_BYTES))
    columns = [c.split()[0] for c in SCHEMA.split(", ") if c.split()[0] not in MADE]
    features = to_tensors(shuffle(chips.select(*columns, "chip"), config.seed, shards), config.chip_size)
    counts = Observation("features")
    in_split = {split: F.col("split") == split for split in SUBSETS}
    features = features.observe(
        counts,
        *(
            F.count_if(here & (F.col("label") == index)).alias(f"{split}.{label}")
            for split, here in in_split.items()
            for index, label in enumerate(config.label_order)
        ),
        *(
            F.sum(F.when(here & (F.col("label") == index), F.col(channel))).alias(f"{split}.{label}.{channel}")
            for split, here in in_split.items()
            for index, label in enumerate(config.label_order)
            for channel in CHANNELS
        ),
    )
    write_table(features.drop(*CHANNELS), context, "features", partition_by="split")
    seen = observed(counts)
    sums = {
        split: {label: [seen[f"{split}.{label}.{channel}"] for channel in CHANNELS] for label in config.label_order}
        for split in SUBSETS
    }
    metrics = {
        "labels": list(config.label_order),
        "chip_size": config.chip_size,
        "chip_class": config.chip_class,
        "margin": source.config["margin"],
        "faces": {split: {label: seen[f"{split}.{label}"] for label in config.label_order} for split in SUBSETS},
        "channel_sums": {split: np.sum(list(sums[split].values()), axis=0).tolist() for split in SUBSETS},
        "label_sums": sums,
    }
    ledger = {split: sum(metrics["faces"][split].values()) for split in SUBSETS}
    check_count(faces, sum(ledger.values()), "Chips that became features")
    return Result(metrics, ledger)


def _check_chips(chips: DataFrame, config: TrainingConfig) -> None:
    """Check that each face's index stands for its label, and that each image is on its one side of the split."""
    named = F.get(F.array(*(F.lit(label) for label in config.label_order)), F.col("label"))
    moved = F.col("split") != F.col("subset") if config.split == "official" else F.lit(False)
    counts = Observation("chips")
    chips = chips.observe(
        counts,
        F.count_if(~named.eqNullSafe(F.col("name"))).alias("have an index that is not their label's"),
        F.count_if(moved).alias("are not on the side of their official subset"),
    )
    sides = chips.groupBy("image_id").agg(F.collect_set("split").alias("splits")).where(F.size("splits") > 1)
    leaks = sides.select("image_id", F.explode("splits").alias("split")).collect()
    check_split({split: [row.image_id for row in leaks if row.split == split] for split in SUBSETS})
    check_faults(observed(counts), "stage chip")


if __name__ == "__main__":
    main("featurize", run)
