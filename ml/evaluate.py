"""Stage evaluate: the model's answers on the test split, their metrics, plots and examples, and the report.

Files written: `metrics.json`; `predictions.parquet` (face_id, image_id, label, predicted, and probability: that of the
second label); `confusion_matrix.png`, `roc.png` and `curves.png`; `correct.png` and `wrong.png` where there are such
faces; `report.html`.
"""

from __future__ import annotations

import hashlib
import io
import logging
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ml import drawing, images, plots, storage
from ml.data import Batch, FeatureReader
from ml.errors import PreprocessingError
from ml.guards import check_label_order
from ml.metrics import classification_metrics, decide
from ml.model import Classifier
from ml.report import render_report, subject
from ml.stages import Context, Manifest, Result

log = logging.getLogger(__name__)
BATCH_SIZE = 256
EXAMPLES, COLUMNS, TILE = 24, 6, 180


@dataclass(frozen=True)
class Example:
    """A face for a contact sheet; those of the lowest rank are shown."""

    rank: float
    pixels: images.Pixels
    caption: str
    image_id: str


@dataclass
class Answers:
    """What the model says of the test faces, taken in batch by batch; of the pixels only a few examples are kept.

    Attributes:
        labels: The labels by index.
        threshold: The second label is chosen where its probability is at least this.
        correct: Examples of faces answered as annotated, chosen by a digest of the face's id.
        wrong: The faces answered otherwise, those of the largest probability first.
    """

    labels: tuple[str, str]
    threshold: float
    correct: list[Example] = field(default_factory=list)
    wrong: list[Example] = field(default_factory=list)
    _parts: list[tuple[NDArray[Any], ...]] = field(default_factory=list)

    def add(self, batch: Batch, probabilities: NDArray[np.floating]) -> None:
        """Take in a batch, read with columns face_id and image_id, and its probabilities of shape (n, 2)."""
        predicted = decide(probabilities, self.threshold)
        face_ids, image_ids = batch.columns["face_id"], batch.columns["image_id"]
        self._parts.append((face_ids, image_ids, batch.labels, predicted, probabilities))
        for row, (truth, answer) in enumerate(zip(batch.labels, predicted, strict=True)):
            sure = float(probabilities[row, answer])
            wrong = truth != answer
            rank = -sure if wrong else float(int(hashlib.sha256(face_ids[row].encode()).hexdigest()[:12], 16))
            examples = self.wrong if wrong else self.correct
            if len(examples) == EXAMPLES and rank >= examples[-1].rank:
                continue
            caption = f"annotated {self.labels[truth]}\npredicted {self.labels[answer]} {sure:.1%}\n{image_ids[row]}"
            # A copy: a view would keep the whole batch in memory.
            examples.append(Example(rank, batch.pixels[row].copy(), caption, str(image_ids[row])))
            examples.sort(key=lambda example: example.rank)
            del examples[EXAMPLES:]

    @property
    def truth(self) -> NDArray[np.int64]:
        """Annotated label index of each face, shape (n,)."""
        return self._column(2, np.zeros(0, np.int64))

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """Shape (n, 2)."""
        return self._column(4, np.zeros((0, 2), np.float32))

    def table(self) -> pa.Table:
        """One row a face, in the order of the features."""
        names = np.array(self.labels, dtype=object)
        empty = np.zeros(0, np.int64)
        return pa.table(
            {
                "face_id": pa.array(self._column(0, empty), pa.string()),
                "image_id": pa.array(self._column(1, empty), pa.string()),
                "label": pa.array(names[self.truth], pa.string()),
                "predicted": pa.array(names[self._column(3, empty)], pa.string()),
                "probability": pa.array(self.probabilities[:, 1], pa.float32()),
            }
        )

    def _column(self, index: int, empty: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([part[index] for part in self._parts]) if self._parts else empty


def evaluate(context: Context) -> Result:
    """Evaluate the model of stage `train` on the test split of stage `featurize`, and nothing else.

    Raises:
        GuardError: Labels, chip size or pixels are not those that the model was trained on.
        DataError: The test split holds no faces, or not those that its manifest states.
    """
    config, features, trained = context.config, context.inputs["featurize"], context.inputs["train"]
    check_label_order(config.label_order, features.metrics["labels"], f"The features {features.uri}")
    classifier = Classifier.load(trained, config.label_order)
    if features.metrics["chip_size"] != classifier.chip_size:
        raise PreprocessingError(
            f"The features' chips have {features.metrics['chip_size']} pixels a side, the model takes "
            f"{classifier.chip_size}.",
            "Train on features of this chip_size.",
        )
    reader = FeatureReader(features, "test", columns=("face_id", "image_id"))
    threshold = classifier.description.threshold if config.threshold is None else config.threshold
    answers = Answers(config.label_order, threshold)
    for batch in reader.checked_batches(BATCH_SIZE):
        answers.add(batch, classifier.predict(batch.pixels))
    metrics = classification_metrics(config.label_order, answers.truth, answers.probabilities, threshold)
    return _write(context, metrics, answers, trained)


def _write(context: Context, metrics: dict[str, Any], answers: Answers, trained: Manifest) -> Result:
    """Write the attempt's files and give its metrics."""
    labels, about = context.config.label_order, subject(context.config)
    figures = {
        "confusion_matrix": plots.confusion_matrix(labels, metrics["confusion"]["counts"], about),
        "roc": plots.roc_curve(
            labels, answers.truth, answers.probabilities, metrics["threshold"], metrics["auc"]["value"], about
        ),
        "curves": storage.read_bytes(trained.file("curves.png")),
    }
    for name, examples in (("correct", answers.correct), ("wrong", answers.wrong)):
        if examples:
            figures[name] = images.encode_png(
                drawing.contact_sheet([(example.pixels, example.caption) for example in examples], COLUMNS, TILE)
            )
    for name, png in figures.items():
        storage.write_bytes(context.path(f"{name}.png"), png)
    storage.write_json(context.path("metrics.json"), metrics)
    buffer = io.BytesIO()
    pq.write_table(answers.table(), buffer)
    storage.write_bytes(context.path("predictions.parquet"), buffer.getvalue())
    shown = [example.image_id for example in (*answers.correct, *answers.wrong)]
    storage.write_bytes(context.path("report.html"), render_report(context, metrics, figures, shown).encode())
    accuracy = metrics["accuracy"]
    log.info(
        "accuracy %.4f (95%% interval %.4f to %.4f) on %d test faces; always %s: %.4f",
        *(accuracy["value"], accuracy["low"], accuracy["high"], metrics["faces"]),
        *(metrics["majority"]["label"], metrics["majority"]["value"]),
    )
    told = ("faces", "accuracy", "majority", "beats_majority", "balanced_accuracy", "by_label", "auc", "log_loss")
    return Result(
        {
            **{name: metrics[name] for name in told},
            "report": context.path("report.html"),
            "metrics": context.path("metrics.json"),
            "predictions": context.path("predictions.parquet"),
            "model": trained.uri,
            "plots": {name: context.path(f"{name}.png") for name in figures},
        }
    )
