"""The parameters of the comparison flow, which compares any two evaluated models."""

from __future__ import annotations

from ml.config.parameter import FlowConfig, place_field
from ml.config.training import TrainingConfig

_MODEL = "Number of a registered version, or attempt folder of stage train."
_EXAMPLES = ["3", "/data/storage/stages/train/<key>/attempts/<attempt>"]


class PairConfig(TrainingConfig):
    """The parameters of a comparison's run folder: those of the model's own run, with the other as `baseline`."""


class ModelsConfig(FlowConfig):
    """The parameters of one run of the comparison flow."""

    model: str | None = place_field(
        None,
        "Models",
        "Model",
        f"{_MODEL} Empty: the newest of all evaluated models.",
        names=r"\d+",
        min_length=1,
        examples=_EXAMPLES,
    )
    baseline: str | None = place_field(
        None,
        "Models",
        "Baseline",
        f"{_MODEL} Both models predict the test faces of the first one's run. Empty: the champion.",
        names=r"\d+",
        min_length=1,
        examples=_EXAMPLES,
    )
