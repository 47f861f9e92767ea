"""The model card (Mitchell et al., 2019): what a model is for, what not, what made it, and how it was measured."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ml.features.record import FeaturesRecord
from ml.report.html import photo_credits, templates
from ml.report.ledger import parameters
from ml.report.subject import PERCEIVED, subject

if TYPE_CHECKING:
    from ml.workflow.execution import Context


TRAINING_SECTIONS = ("Classes", "Chips", "Split", "Training")


def render_card(context: Context, metrics: Mapping[str, Any], shown: Iterable[str] = ()) -> str:
    """Write the card's Markdown, with the metadata block that model hubs read. Nothing is fetched from anywhere.

    Args:
        context: Of stage `evaluate`.
        metrics: What the stage writes into `metrics.json`.
        shown: ImageIDs of the photographs that the report shows parts of, for their credits.
    """
    config, trained = context.config, context.inputs["train"]
    about = subject(config)
    people = about == PERCEIVED
    name = f"open-images-{'perceived-gender-presentation' if people else '-or-'.join(config.label_order)}"
    data = ModelCardData(
        model_name=name,
        language="en",
        license="other",
        library_name="keras",
        pipeline_tag="image-classification",
        datasets=["open-images-v5"],
        tags=["image-classification", "open-images", config.network],
        metrics=["accuracy", "roc_auc"],
        eval_results=[_result(*row) for row in _headline(metrics) if row[2] is not None],
    )
    rows = [row for row in parameters(context.run.parameters) if row["section"] in TRAINING_SECTIONS and row["value"]]
    content = (
        templates()
        .get_template("model_card.md.j2")
        .render(
            card_data=data.to_yaml(),
            model_name=name,
            about=about,
            people=people,
            config=config,
            run=context.run,
            model=metrics,
            train=trained.metrics,
            attempt=trained.uri,
            features=context.inputs["featurize"].record(FeaturesRecord).faces,
            parameters=rows,
            credits=[_credit(photo) for photo in photo_credits(context, shown)],
            share=_share,
            fixed=_fixed,
            points=_points,
            plain=plain,
        )
    )
    return str(ModelCard(content))


def plain(text: str) -> str:
    """Text of a release as Markdown that shows it and does nothing else: on one line, its marks escaped."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|~&])", r"\\\1", " ".join(text.split()))


def _credit(photo: Mapping[str, Any]) -> str:
    # Titles and names are published as HTML.
    title, author = (plain(html.unescape(photo.get(name) or "")) for name in ("title", "author"))
    pages = [photo.get(name) or "" for name in ("license", "landing_url")]
    pages = [page for page in pages if re.fullmatch(r"https?://[^\s<>]+", page)]
    told = [f"{plain(photo['image_id'])}: {title or 'untitled'}", f"by {author or 'an unnamed author'}"]
    return ", ".join([*told, *(f"<{page}>" for page in pages)])


def _headline(metrics: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    return [
        ("accuracy", "Accuracy", metrics["accuracy"]["value"]),
        ("balanced_accuracy", "Balanced accuracy", metrics["balanced_accuracy"]["value"]),
        ("roc_auc", "Area under the ROC curve", metrics["auc"]["value"]),
        ("brier_score", "Brier score", metrics["brier"]["value"]),
        ("ece", "Expected calibration error", metrics["ece"]["value"]),
    ]


def _result(metric: str, title: str, value: float) -> EvalResult:
    return EvalResult(
        task_type="image-classification",
        dataset_type="open-images-v5",
        dataset_name="Open Images V5",
        dataset_split="test",
        metric_type=metric,
        metric_name=title,
        metric_value=round(value, 4),
    )


def _share(value: Mapping[str, Any]) -> str:
    return _with_interval(value, lambda number: f"{number:.1%}")


def _fixed(value: Mapping[str, Any]) -> str:
    return _with_interval(value, lambda number: f"{number:.3f}")


def _points(value: Mapping[str, Any]) -> str:
    return _with_interval(value, lambda number: f"{100 * number:+.1f}".replace("-", "−"))


def _with_interval(value: Mapping[str, Any], text: Any) -> str:
    if value["value"] is None:
        return "–"
    if value["low"] is None:
        return f"{text(value['value'])} (no interval)"
    return f"{text(value['value'])} ({text(value['low'])} to {text(value['high'])})"
