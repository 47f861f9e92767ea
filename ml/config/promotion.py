"""The parameters of the promotion flow."""

from __future__ import annotations

from typing import Literal

from ml.config.parameter import FlowConfig, field, model_field
from ml.config.training import TrainingConfig


class ComparisonConfig(TrainingConfig):
    """The parameters of a promotion's comparison: those of the candidate's run, with the champion as `baseline`."""


class PromotionConfig(FlowConfig):
    """The parameters of one run of the promotion flow."""

    candidate: str | None = model_field(
        "Candidate",
        "Candidate",
        "Model that may become champion. Empty: the newest of the candidates that triggered the run, or of all "
        "evaluated models.",
    )
    include_backfills: bool = field(
        False, "Candidate", "Candidates of backfills", "Also consider models that a backfill trained."
    )
    allow_older: bool = field(
        False,
        "Candidate",
        "Allow an older candidate",
        "Let a candidate pass even if its as_of is earlier than the champion's, so that it saw fewer deliveries.",
    )
    floor: float = field(
        0.05,
        "Gate",
        "Margin over the majority",
        "How far the low end of the 95% interval of the candidate's accuracy must be above the share of the most "
        "common label.",
        ge=0.0,
        le=0.5,
    )
    compare: bool = field(
        True,
        "Gate",
        "Compare with the champion",
        "Compare both models on the same test faces. Off: use only the rules that need no comparison, for a candidate "
        "with another chip size or other labels, which cannot be compared.",
    )
    margin: float = field(
        0.01,
        "Gate",
        "Margin",
        "How far the candidate's accuracy may fall below the champion's on the same faces.",
        ge=0.0,
        le=0.5,
    )
    slice_margin: float = field(
        0.05,
        "Gate",
        "Slice margin",
        "How far the candidate's accuracy may fall below the champion's in a slice of at least 50 faces; counts only "
        "if the interval of the difference excludes zero.",
        ge=0.0,
        le=0.5,
    )
    slice_floor: float | None = field(
        None,
        "Gate",
        "Slice floor",
        "Accuracy that the candidate must reach in each slice of at least 50 faces, such as children if age is known. "
        "Empty: any.",
        ge=0.0,
        le=1.0,
        examples=[0.7],
    )
    mode: Literal["approve", "automatic"] = field(
        "approve",
        "Approval",
        "Mode",
        "approve: a person decides on each candidate that passes the gate. automatic: passing the gate is enough.",
    )
    approval_hours: float = field(
        72.0,
        "Approval",
        "Hours to answer",
        "Time allowed for an answer; no answer counts as a rejection.",
        gt=0.0,
        le=8760.0,
    )
    move_back: bool = field(
        False,
        "Moving back",
        "Move back",
        "Restore the previous champion and do nothing else.",
    )
