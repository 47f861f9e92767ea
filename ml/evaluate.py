"""Stage evaluate: the model's answers on the test split, their metrics, plots and examples, and the report.

Files written: `metrics.json`, `predictions.parquet` (face_id, image_id, label, predicted, and probability: that of the
second label), `confusion_matrix.png`, `roc.png`, `curves.png`, `correct.png` and `wrong.png` where there are such faces,
and `report.html`.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from ml import drawing, images, plots, storage
from ml.data import FeatureReader
from ml.errors import PreprocessingError
from ml.guards import check_channel_sums, check_label_order
from ml.metrics import classification_metrics, decide
from ml.model import Classifier
from ml.report import render_report, subject
from ml.stages import Context, Manifest, Result

BATCH = 256
EXAMPLES = 24
COLUMNS = 6


@dataclass(frozen=True)
class Answers:
    """The model's answers on the test split, in the order of the features.

    Attributes:
        face_ids: The faces.
        image_ids: Their images.
        truth: Annotated label index, shape (n,).
        probabilities: Shape (n, 2).
        correct: Faces answered correctly, for the contact sheet: pixels, caption and ImageID.
        wrong: Faces answered wrongly.
    """

    face_ids: list[str]
    image_ids: list[str]
    truth: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    correct: list[Example]
    wrong: list[Example]


@dataclass(frozen=True)
class Example:
    """One face for a contact sheet; those of the smallest rank are shown."""

    rank: float | str
    pixels: images.Pixels
    caption: str
    image_id: str


def evaluate(context: Context) -> Result:
    """Evaluate the model of stage `train` on the test split of stage `featurize`.

    Raises:
        GuardError: Labels, chip size or pixels are not those that the model was trained on.
        DataError: The test split holds no faces.
    """
    config, features, trained = context.config, context.inputs["featurize"], context.inputs["train"]
    classifier = Classifier.load(trained.uri)
    check_label_order(config.label_order, features.metrics["labels"], f"the features {features.uri}")
    check_label_order(config.label_order, classifier.labels, f"the model {trained.uri}")
    if features.metrics["chip_size"] != classifier.chip_size:
        raise PreprocessingError(
            f"The features have chips of {features.metrics['chip_size']} pixels, the model takes {classifier.chip_size}.",
            "Train on features of this chip_size.",
        )
    answers = answer(classifier, features, config.threshold)
    metrics = classification_metrics(config.label_order, answers.truth, answers.probabilities, config.threshold)
    figures = _figures(context, metrics, answers, trained, classifier.best_epoch)
    for name, png in figures.items():
        storage.write_bytes(context.path(f"{name}.png"), png)
    storage.write_json(context.path("metrics.json"), metrics)
    storage.write_bytes(context.path("predictions.parquet"), _predictions(config.label_order, answers, config.threshold))
    shown = [example.image_id for example in (*answers.correct, *answers.wrong)]
    storage.write_bytes(context.path("report.html"), render_report(context, metrics, figures, shown).encode())
    return Result(
        {
            **{name: metrics[name] for name in ("faces", "accuracy", "majority", "beats_majority", "by_label", "auc")},
            "report": context.path("report.html"),
            "metrics": context.path("metrics.json"),
            "predictions": context.path("predictions.parquet"),
            "model": trained.uri,
            "plots": {name: context.path(f"{name}.png") for name in figures},
        }
    )
