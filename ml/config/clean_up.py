"""The parameters of the clean-up."""

from __future__ import annotations

from ml.config.parameter import FlowConfig, field


class CleanUpConfig(FlowConfig):
    """What one clean-up of the storage root does."""

    grace_hours: float = field(
        72.0,
        "What goes",
        "Grace (hours)",
        "What was written within so many hours is never touched. More than the longest stage takes: a job that is "
        "slower may find its attempt removed, and fail.",
        gt=0.0,
        le=24.0 * 366,
    )
    run_days: float | None = field(
        90.0,
        "What goes",
        "Age of runs (days)",
        "Runs in whose folder nothing was written for so many days are removed, and with them what they alone used; "
        "empty: none is.",
        gt=0.0,
        le=36_600.0,
    )
    keep_runs: int = field(
        20,
        "What goes",
        "Newest runs kept",
        "So many of the newest evaluated training runs are kept whatever their age.",
        ge=1,
        le=100_000,
    )
    remove: bool = field(
        False, "Run", "Remove", "Remove what the plan lists. Otherwise the plan is only made and shown."
    )
