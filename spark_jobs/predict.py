"""predict: find and classify the faces in a folder or bucket of photographs with a trained model.

Writes the tables `faces`, one row per face with its prediction, and `photographs`, one row per photograph with its
status; `sample` holds some photographs annotated with their predictions. Workers read the photographs from where they
are stored; only paths and predictions move through Spark.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from ml import storage
from ml.config.prediction import PredictionConfig
from ml.errors import DataError
from ml.guards import check_count
from ml.metrics.decision import UNKNOWN
from ml.model.novelty import REASONS
from ml.photographs.opening import open_photographs
from ml.photographs.source import SUFFIX, Columns, Key, Photographs, Shard, photograph_name
from ml.prediction.finder import detector_record, load_finder
from ml.prediction.finding import Finding
from ml.prediction.listing import unescaped
from ml.prediction.predictor import Answer, Predictor, annotate, load_predictor, unusual_text, worker_predictor
from ml.prediction.record import SAMPLE, PredictionsRecord, UnusualFaces, sample_name
from ml.vision import images
from ml.vision.detection import FaceFinder, decode_upright
from ml.workflow import layout
from ml.workflow.execution import FlowContext, Result
from spark_jobs.main import main
from spark_jobs.prediction_rows import ARROW_SCHEMA, SCHEMA, FaceRow, PhotographRow
from spark_jobs.session import read_table, write_table

CLASSIFIED = "classified"
FAULTS = ("absent", "unreadable", "too large")
STATUSES = (CLASSIFIED, "no face", *FAULTS)
PHOTOGRAPHS_PER_TASK = 200  # about ten seconds of work
BATCH_FACES = 64  # faces, of several photographs, that the model classifies at once
BATCH_PHOTOGRAPHS = 256  # photographs after which predictions are returned even if the batch of faces is not full
Batches = Iterator[pa.RecordBatch]
Content = Callable[[], bytes]  # returns a photograph, encoded, or raises the error of reading it
Contents = Callable[[dict[str, Any]], Iterator[tuple[PhotographRow, Content]]]


def classify(
    spark: SparkSession, uri: str, config: PredictionConfig, photographs: Photographs, min_confidence: float
) -> DataFrame:
    """Read photographs, find their faces and classify them.

    Args:
        spark: The session.
        uri: The listing of the photographs, if they are single files: columns photo (path relative to the folder) and
            bytes.
        config: A configuration with `photographs` and `model` resolved.
        photographs: The photographs.
        min_confidence: Predictions with a lower confidence become `unknown`.

    Returns:
        One row per photograph: its status, and its faces with their predictions.
    """
    assert config.model is not None
    if shards := photographs.shards():
        listed = spark.range(0, len(shards), 1, len(shards))
        contents: Contents = partial(_of_shard, photographs, shards)
    else:
        listed = read_table(spark, [uri])
        tasks = max(spark.sparkContext.defaultParallelism, listed.count() // PHOTOGRAPHS_PER_TASK)
        listed = listed.repartition(tasks, "photo")
        contents = partial(_of_file, config.photographs)
    classifier = _classifier(contents, config.model, min_confidence, Finding.of(config))
    return listed.mapInArrow(classifier, SCHEMA)


def _classifier(
    contents: Contents, model: str, min_confidence: float, finding: Finding
) -> Callable[[Batches], Batches]:
    """Return the function that Spark's Python workers run over the rows of a listing or of shards."""

    def run_batches(batches: Batches) -> Batches:
        listed = itertools.chain.from_iterable(batch.to_pylist() for batch in batches)
        rows = itertools.chain.from_iterable(map(contents, listed))
        predictor = worker_predictor(model, min_confidence)
        finder = load_finder(finding, predictor.description.box_aspect)
        for done in classify_rows(rows, predictor, finder):
            yield pa.RecordBatch.from_pylist([asdict(row) for row in done], schema=ARROW_SCHEMA)

    return run_batches


def _of_file(folder: str, listed: dict[str, Any]) -> Iterator[tuple[PhotographRow, Content]]:
    """Yield a photograph of a listing."""
    yield PhotographRow(listed["photo"], listed["bytes"]), partial(_content, storage.join(folder, listed["photo"]))


def _of_shard(
    photographs: Photographs, shards: Sequence[Shard], listed: dict[str, Any]
) -> Iterator[tuple[PhotographRow, Content]]:
    """Yield the photographs of a shard, given the row with its number."""
    for key, content in photographs.read_shard(shards[listed["id"]], None):
        yield PhotographRow(packed_name(key), len(content)), partial(bytes, content)


def classify_rows(
    photographs: Iterable[tuple[PhotographRow, Content]], predictor: Predictor, finder: FaceFinder
) -> Iterator[list[PhotographRow]]:
    """Fill in the rows of photographs in batches, holding no more than the chips of one batch in memory.

    Args:
        photographs: The photographs, each with a function that returns its content.
        predictor: The predictor that classifies the chips.
        finder: Finds the faces.
    """
    done: list[PhotographRow] = []
    chips: list[images.Pixels] = []
    for row, content in photographs:
        done.append(row)
        warnings: list[str] = []
        photo, row.status = _read(content, warnings)
        row.warned = bool(warnings)
        if photo is not None:
            row.height, row.width = photo.shape[:2]
            for number, face in enumerate(finder.detect(photo), start=1):
                chips.append(predictor.cut_chip(photo, face.rectangle(), face.rotation))
                row.faces.append(FaceRow(number, *face.rectangle(), brightness=images.brightness(chips[-1])))
            row.status = CLASSIFIED if row.faces else "no face"
        if len(chips) >= BATCH_FACES or len(done) >= BATCH_PHOTOGRAPHS:
            yield _with_predictions(done, chips, predictor)
            done, chips = [], []
    if done:
        yield _with_predictions(done, chips, predictor)


def _read(content: Content, warnings: list[str] | None = None) -> tuple[images.Pixels | None, str]:
    """Read a photograph, or return the reason why it cannot be read; Spark retries transient errors."""
    try:
        return decode_upright(content(), warnings), ""
    except FileNotFoundError:
        return None, "absent"
    except images.ImageTooLargeError:
        return None, "too large"
    except (images.UnreadableImageError, PermissionError):
        return None, "unreadable"


def _content(uri: str) -> bytes:
    try:
        return storage.read_bytes(uri)
    except FileNotFoundError:
        if (original := unescaped(uri)) == uri:
            raise
        return storage.read_bytes(original)


def _with_predictions(
    rows: list[PhotographRow], chips: list[images.Pixels], predictor: Predictor
) -> list[PhotographRow]:
    faces = (face for row in rows for face in row.faces)
    boxes = [(face.left, face.top, face.right, face.bottom) for row in rows for face in row.faces]
    for face, answer in zip(faces, predictor.answer(chips, boxes), strict=True):
        face.label, face.confidence, face.unusual = answer.label, answer.confidence, unusual_text(answer)
        face.probabilities = list(answer.probabilities)
    return rows


def face_table(classified: DataFrame, labels: list[str]) -> DataFrame:
    """Return one row per face: photo, its size, face number, box in pixels, brightness, label, confidence, what is
    unusual about it, label probabilities.
    """
    probabilities = (
        F.col("face.probabilities")[index].alias(f"probability_{label}") for index, label in enumerate(labels)
    )
    return (
        classified.select("photo", "width", "height", F.explode("faces").alias("face"))
        .select("photo", "width", "height", "face.*", *probabilities)
        .drop("probabilities")
    )


def count_unusual(faces: DataFrame) -> UnusualFaces:
    """Count the faces outside the range of training's, by reason."""
    reasons = F.split("unusual", ",")
    row = faces.agg(
        F.count_if(F.col("unusual") != "").alias("faces"),
        *(F.count_if(F.array_contains(reasons, reason)).alias(reason) for reason in REASONS),
    ).collect()[0]
    return UnusualFaces(faces=row["faces"], by_reason={reason: row[reason] for reason in REASONS})


def choose_sample(classified: DataFrame, count: int) -> DataFrame:
    """Choose the classified photographs to annotate by the digests of their paths, so the choice is reproducible."""
    return classified.where(F.col("status") == CLASSIFIED).orderBy(F.sha2("photo", 256), "photo").limit(count)


def packed_name(key: Key) -> str:
    """Return the path of a photograph in a shard."""
    return photograph_name(*key) if key.subset else f"{key.image_id}{SUFFIX}"


def _reader(folder: str, photographs: Photographs) -> Callable[[str], bytes]:
    """Return the function that reads a classified photograph by its path."""

    def read_packed(photo: str) -> bytes:
        subset, _, name = photo.rpartition("/")
        return photographs.read(subset, name.removesuffix(SUFFIX))

    return read_packed if photographs.shards() else lambda photo: _content(storage.join(folder, photo))


def _annotator(read: Callable[[str], bytes], target: str, labels: list[str]) -> Callable[[Iterable[Row]], None]:
    """Return the function that Spark's Python workers run over the photographs to annotate."""

    def annotate_photographs(rows: Iterable[Row]) -> None:
        for row in rows:
            faces = [(face.left, face.top, face.right, face.bottom) for face in row.faces]
            answers = [Answer(face.label, face.confidence, tuple(face.probabilities)) for face in row.faces]
            photo, _ = _read(partial(read, row.photo))
            if photo is not None:  # it may have been removed since
                drawn = images.encode_jpeg(annotate(photo, faces, answers, labels))
                storage.write_bytes(storage.join(target, sample_name(row.photo)), drawn)

    return annotate_photographs


def _check_readable(total: int, ledger: dict[str, int], examples: dict[str, str], config: PredictionConfig) -> None:
    """Check that the share of unreadable photographs is at most `max_fault_share`.

    Raises:
        DataError: The share is larger.
    """
    if sum(ledger[fault] for fault in FAULTS) <= config.max_fault_share * total:
        return
    found = ", ".join(f"{ledger[fault]} {fault} (for example {examples[fault]})" for fault in FAULTS if ledger[fault])
    raise DataError(
        f"Too many of the {total} photographs at {config.photographs} are unusable: {found}.",
        "Repair or remove them, or raise max_fault_share.",
    )


def run(spark: SparkSession, context: FlowContext[PredictionConfig]) -> Result:
    """Classify the photographs of a run; fail if too many are absent or unreadable."""
    config = context.config
    assert config.model is not None
    # Load the model here too: an error raised in a worker reaches the driver only as text, without its type.
    predictor = load_predictor(config.model, config.min_confidence, config.max_risk)
    description = predictor.description
    finding = Finding.of(config)
    load_finder(finding, description.box_aspect)
    photographs = open_photographs(config.photographs, Columns.parse(config.photograph_columns))
    listing = layout.photographs_uri(context.run.uri)
    classified = classify(spark, listing, config, photographs, predictor.min_confidence).persist(StorageLevel.DISK_ONLY)
    try:
        write_table(classified.drop("warned").withColumn("faces", F.size("faces")), context, "photographs")
        counts = classified.groupBy("status").agg(
            F.count("*").alias("count"), F.min("photo").alias("example"), F.count_if("warned").alias("warned")
        )
        seen = {row["status"]: row for row in counts.collect()}
        ledger = {status: int(seen[status]["count"]) if status in seen else 0 for status in STATUSES}
        total = sum(ledger.values())
        if not total:
            raise DataError(f"{config.photographs} holds no photograph.", "Correct the parameter `photographs`.")
        if not photographs.shards():
            check_count(read_table(spark, [listing]).count(), total, "Photographs listed, each with a status")
        _check_readable(total, ledger, {status: str(row["example"]) for status, row in seen.items()}, config)
        faces = face_table(classified, description.labels)
        write_table(faces, context, "faces")
        answers = {row["label"]: row["count"] for row in faces.groupBy("label").count().collect()}
        unusual = count_unusual(faces) if predictor.novelty is not None else None
        read = _reader(config.photographs, photographs)
        annotator = _annotator(read, context.path(SAMPLE), description.labels)
        sample = choose_sample(classified, config.sample)
        sample.repartition(spark.sparkContext.defaultParallelism).foreachPartition(annotator)
    finally:
        classified.unpersist()
    record = PredictionsRecord(
        photographs=total,
        photograph_warnings=sum(int(row["warned"]) for row in seen.values()),
        faces={label: answers.get(label, 0) for label in (*description.labels, UNKNOWN)},
        labels=description.labels,
        meaning=description.meaning,
        threshold=description.threshold,
        min_confidence=predictor.min_confidence,
        promise=predictor.promise,
        model=config.model,
        detector=detector_record(finding, description.box_aspect),
        sample=context.path(SAMPLE),
        unusual=unusual,
    )
    return Result(record, ledger)


if __name__ == "__main__":
    main("predict", run)
