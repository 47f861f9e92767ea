"""The parameters of the comparison flow, which compares any two evaluated models."""

from __future__ import annotations

from ml.config.parameter import FlowConfig, model_field
from ml.config.training import TrainingConfig


class PairConfig(TrainingConfig):
    """The parameters of a comparison's run folder: those of the model's own run, with the other as `baseline`."""


class ModelsConfig(FlowConfig):
    """The parameters of one run of the comparison flow."""

    model: str | None = model_field(
        "Models",
        "Model",
        "The first model, on whose run's test faces both predict. Empty: the newest of all evaluated models.",
    )
    baseline: str | None = model_field(
        "Models",
        "Baseline",
        "The second model. Empty: the champion.",
    )
