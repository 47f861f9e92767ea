"""The parameters of the prediction flow."""

from __future__ import annotations

from typing import Annotated

from ml.config.parameter import FlowConfig, OneOf, check_fields, field
from ml.flow.table import PREDICT


class PredictionConfig(FlowConfig):
    """What one run of the prediction flow does."""

    photographs: str = field(
        "/data/photographs",
        "Photographs",
        "Photographs",
        "Path or URI of a folder or bucket that is searched, with all below it, for JPEG and PNG files.",
        min_length=1,
        examples=["/data/photographs", "s3://bucket/photographs"],
    )
    max_fault_share: float = field(
        0.1,
        "Photographs",
        "Largest share of faults",
        "The run stops when more than this share of the photographs cannot be read.",
        ge=0.0,
        le=1.0,
    )
    model: str | None = field(
        None,
        "Answers",
        "Model",
        "Attempt folder of stage train; empty: the champion, or where there is none the model that was trained last.",
        min_length=1,
        examples=["/data/storage/stages/train/<key>/attempts/<attempt>"],
    )
    min_confidence: float = field(
        0.75,
        "Answers",
        "Least confidence",
        "Below this probability of the label that it would be given, a face is answered 'unknown'.",
        ge=0.5,
        le=0.999,
    )
    sample: int = field(
        24,
        "Answers",
        "Annotated photographs",
        "So many photographs are copied with their answers drawn on.",
        ge=0,
        le=10_000,
    )
    force: Annotated[str, OneOf((PREDICT.name,))] | None = field(
        None, "Run", "Redo from stage", "Redo this stage, although it is found done."
    )


check_fields(PredictionConfig, [PREDICT])
