"""The parameters of the flows beside the training: prediction, promotion and clean-up."""

from __future__ import annotations

from typing import Literal, TypeVar

from ml.config import FlowConfig, RunConfig, field


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
    force: Literal["predict"] | None = field(
        None, "Run", "Redo from stage", "Redo this stage, although it is found done."
    )


class ComparisonConfig(RunConfig):
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


class MaintenanceConfig(FlowConfig):
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


C = TypeVar("C", RunConfig, PredictionConfig)  # of flows that are made of stages
