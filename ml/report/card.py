"""The model card (Mitchell et al., 2019): intended and excluded uses of a model, its training and its metrics."""

from __future__ import annotations

import functools
import html
import re

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ml.config.prediction import DETECTOR_NAMES
from ml.config.training import FACE
from ml.flow.exploration import Credit
from ml.metrics.records import EvaluationMetrics
from ml.report.data import CardData
from ml.report.formats import fixed, number, percent, points, threshold, with_interval
from ml.report.html import templates
from ml.report.ledger import parameters

TRAINING_SECTIONS = ("Classes", "Chips", "Split", "Training")


def render_card(data: CardData) -> str:
    """Return the card's Markdown, with the metadata block that model hubs read; needs no network access."""
    config = data.config
    name = f"open-images-{data.subject.name}"
    dataset = f"Open Images {data.version}".strip()
    metadata = ModelCardData(
        model_name=name,
        language="en",
        license="other",
        library_name="keras",
        pipeline_tag="image-classification",
        datasets=[_identifier(dataset)],
        tags=["image-classification", "open-images", config.network],
        metrics=["accuracy", "roc_auc"],
        eval_results=[
            _result(dataset, metric, title, value)
            for metric, title, value in _headline(data.metrics)
            if value is not None
        ],
    )
    rows = [row for row in parameters(config.model_dump(mode="json")) if row.section in TRAINING_SECTIONS and row.value]
    content = (
        templates()
        .get_template("model_card.md.j2")
        .render(
            card_data=metadata.to_yaml(),
            model_name=name,
            data=data,
            subject=data.subject,
            config=config,
            model=data.metrics,
            parameters=rows,
            credits=[_credit(photo) for photo in data.credits],
            share=functools.partial(with_interval, text=percent),
            fixed=functools.partial(with_interval, text=fixed),
            points=functools.partial(with_interval, text=points),
            number=number,
            threshold=threshold,
            plain=plain,
            detector=DETECTOR_NAMES[0] if config.chip_class == FACE else None,
        )
    )
    return str(ModelCard(content))


def plain(text: str) -> str:
    """Return text from a release as literal Markdown: on one line, with its markup escaped."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|~&])", r"\\\1", " ".join(text.split()))


def _credit(photo: Credit) -> str:
    # Titles and names are published as HTML.
    title, author = (plain(html.unescape(text or "")) for text in (photo.title, photo.author))
    pages = [page or "" for page in (photo.license, photo.landing_url)]
    pages = [page for page in pages if re.fullmatch(r"https?://[^\s<>]+", page)]
    parts = [f"{plain(photo.image_id)}: {title or 'untitled'}", f"by {author or 'an unnamed author'}"]
    return ", ".join([*parts, *(f"<{page}>" for page in pages)])


def _headline(metrics: EvaluationMetrics) -> list[tuple[str, str, float | None]]:
    return [
        ("accuracy", "Accuracy", metrics.accuracy.value),
        ("balanced_accuracy", "Balanced accuracy", metrics.balanced_accuracy.value),
        ("roc_auc", "Area under the ROC curve", metrics.auc.value),
        ("brier_score", "Brier score", metrics.brier.value),
        ("ece", "Expected calibration error", metrics.ece.value),
    ]


def _identifier(dataset: str) -> str:
    """Return a data set's name as model hubs write it: `open-images-v5`."""
    return re.sub(r"\W+", "-", dataset.lower())


def _result(dataset: str, metric: str, title: str, value: float) -> EvalResult:
    return EvalResult(
        task_type="image-classification",
        dataset_type=_identifier(dataset),
        dataset_name=dataset,
        dataset_split="test",
        metric_type=metric,
        metric_name=title,
        metric_value=round(value, 4),
    )
