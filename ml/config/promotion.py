"""The parameters of the promotion flow."""

from __future__ import annotations

from typing import Literal

from ml.config.parameter import FlowConfig, field
from ml.config.training import TrainingConfig


class ComparisonConfig(TrainingConfig):
    """What a promotion compares: the parameters of the candidate's run, with the champion as `baseline`."""


class PromotionConfig(FlowConfig):
    """What one run of the promotion flow does."""

    candidate: str | None = field(
        None,
        "Candidate",
        "Candidate",
        "Number of a registered version, or attempt folder of stage train; empty: the newest of the candidates that "
        "triggered the run, or of all evaluated models.",
        min_length=1,
        examples=["3", "/data/storage/stages/train/<key>/attempts/<attempt>"],
    )
    include_backfills: bool = field(
        False, "Candidate", "Candidates of backfills", "Decide also about a model that a backfill has trained."
    )
    allow_older: bool = field(
        False,
        "Candidate",
        "Allow an older one",
        "Let a candidate pass that saw fewer deliveries than the champion did: whose as_of is earlier.",
    )
    floor: float = field(
        0.05,
        "Gate",
        "Above the majority",
        "The low end of the 95% interval of the candidate's accuracy must lie at least so far above the share of the "
        "commonest label.",
        ge=0.0,
        le=0.5,
    )
    compare: bool = field(
        True,
        "Gate",
        "Compare with the champion",
        "Compare both on the same test faces. Off: the rules without a comparison decide alone, for a candidate of "
        "another chip size or of other labels, which cannot be compared.",
    )
    margin: float = field(
        0.01,
        "Gate",
        "Margin",
        "By so much the candidate's accuracy may lie below the champion's on the same faces.",
        ge=0.0,
        le=0.5,
    )
    slice_margin: float = field(
        0.05,
        "Gate",
        "Margin of a slice",
        "No slice of at least 50 faces may be worse by more than this where the interval of the difference leaves out "
        "zero.",
        ge=0.0,
        le=0.5,
    )
    mode: Literal["approve", "automatic"] = field(
        "approve",
        "Approval",
        "Mode",
        "approve: a person decides about what has passed the gate. automatic: passing the gate is enough.",
    )
    approval_hours: float = field(
        72.0,
        "Approval",
        "Hours to answer",
        "Whoever is asked has so long; no answer counts as a rejection.",
        gt=0.0,
        le=8760.0,
    )
    move_back: bool = field(
        False,
        "Moving back",
        "Move back",
        "Make the champion before this one champion again, and do nothing else.",
    )
