"""The parameters of the clean-up."""

from __future__ import annotations

from ml.config.parameter import FlowConfig, field


class CleanUpConfig(FlowConfig):
    """The parameters of one clean-up of the storage root."""

    grace_hours: float = field(
        72.0,
        "What is removed",
        "Grace period (hours)",
        "Never touch anything written within this many hours. Set it longer than the slowest stage takes: a slower "
        "job may lose its attempt and fail.",
        gt=0.0,
        le=24.0 * 366,
    )
    run_days: float | None = field(
        90.0,
        "What is removed",
        "Age of runs (days)",
        "Remove runs whose folder has not changed for this many days, and everything that only they use. Empty: "
        "remove no runs.",
        gt=0.0,
        le=36_600.0,
    )
    keep_runs: int = field(
        20,
        "What is removed",
        "Newest runs kept",
        "Always keep this many of the most recent evaluated training runs.",
        ge=1,
        le=100_000,
    )
    remove: bool = field(
        False, "Run", "Remove", "Remove everything that the plan lists. Off: only make the plan and show it."
    )
