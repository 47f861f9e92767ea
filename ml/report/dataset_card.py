"""The card of an exported data set (Gebru et al., 2021): what it holds, its uses and its licenses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from huggingface_hub import DatasetCard, DatasetCardData

from ml.config.training import TrainingConfig
from ml.report.card import plain
from ml.report.formats import number
from ml.report.html import templates
from ml.report.ledger import parameters
from ml.report.subject import subject

SECTIONS = ("Classes", "Chips", "Split")


@dataclass(frozen=True)
class DatasetCardContent:
    """What a card is made of.

    Attributes:
        config: The run's configuration.
        run_id: The run's id.
        holds: What the data set consists of, as a sentence.
        numbering: How the labels are numbered, as a sentence.
        task: The task on the Hub, such as `image-classification`.
        divided_by: What `faces` is by: `split` or `subset`.
        faces: The faces by part and label.
        left_out: The boxes that are not in it, by stage and reason.
        photographs: Number of photographs that the faces are on.
        without_author: Number of them without a named author.
        licenses: The photographs' licenses: name, address and number of photographs.
        data_files: The pattern of the files of each part, for `datasets`; empty if it does not read them.
    """

    config: TrainingConfig
    run_id: str
    holds: str
    numbering: str
    task: str
    divided_by: str
    faces: Mapping[str, Mapping[str, int]]
    left_out: Mapping[str, Mapping[str, int]]
    photographs: int
    without_author: int
    licenses: Sequence[tuple[str, str, int]]
    data_files: Mapping[str, str]


def dataset_name(config: TrainingConfig) -> str:
    """Return the name of the data set that is exported from a run with this configuration."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", subject(config).name).strip("-").lower()
    return f"open-images-{name}"


def render_dataset_card(content: DatasetCardContent) -> str:
    """Return the card's Markdown, with the metadata block that the Hub reads; needs no network access."""
    config = content.config
    files = [{"split": part, "path": pattern} for part, pattern in content.data_files.items()]
    metadata = DatasetCardData(
        language="en",
        license="other",
        task_categories=[content.task],
        source_datasets=["open-images"],
        pretty_name=dataset_name(config),
        configs=[{"config_name": "default", "data_files": files}] if files else None,
    )
    rows = [row for row in parameters(config.model_dump(mode="json")) if row.section in SECTIONS and row.value]
    text = (
        templates()
        .get_template("dataset_card.md.j2")
        .render(
            card_data=metadata.to_yaml(),
            name=dataset_name(config),
            content=content,
            subject=subject(config),
            config=config,
            labels=[plain(label) for label in config.label_order],
            licenses=[(_link(name, url), count) for name, url, count in content.licenses],
            parameters=rows,
            number=number,
            plain=plain,
        )
    )
    return str(DatasetCard(text))


def _link(name: str, url: str) -> str:
    return f"[{plain(name)}](<{url}>)" if re.fullmatch(r"https?://[^\s<>]+", url) else plain(name)
