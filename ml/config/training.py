"""The parameters of the training flow, from which Airflow's form, the command line and the docs are generated."""

from __future__ import annotations

import datetime
import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ml.config.networks import NETWORK_NAMES
from ml.config.parameter import (
    FlowConfig,
    OneOf,
    check_fields,
    columns_field,
    field,
    labels_in_order,
    model_field,
    place_field,
    risk_field,
)
from ml.flow.code import is_code
from ml.flow.table import STAGES

FACE = "Human face"  # for this class, the labels are perceived gender presentation


class TrainingConfig(FlowConfig):
    """The parameters of one run of the training flow."""

    release: str = place_field(
        "/data/open-images",
        "Release",
        "Release folder",
        "Path or URI of a release in the official Open Images layout: CSV files, and photographs as {train,validation,"
        "test}/<ImageID>.jpg. Or of a landing: a folder of deliveries <YYYY-MM-DD> in that layout with delivery.json.",
        min_length=1,
        examples=["/data/open-images", "s3://bucket/landing"],
    )
    as_of: datetime.date | None = field(
        None,
        "Release",
        "As of",
        "For a landing, use deliveries dated up to and including this day. Empty: use those dated before the run. "
        "Scheduled and backfilled runs always use those dated before the end of their interval.",
    )
    retrain_without_news: bool = field(
        False,
        "Release",
        "Retrain without a new delivery",
        "Let a scheduled or backfilled run train even if no delivery is dated in its interval. Off: skip it.",
    )
    photographs: str | None = place_field(
        None,
        "Release",
        "Photographs",
        "Path, URI or http(s) address of the photographs, if they are not in the release folder: a folder that holds "
        "train, validation and test, or one with Parquet files or tar archives of photographs.",
        min_length=1,
        examples=["s3://open-images-dataset", "https://s3.amazonaws.com/open-images-dataset", "/data/images.parquet"],
    )
    photograph_columns: str = columns_field("Release")
    chip_class: str = field(
        FACE,
        "Classes",
        "Class to chip",
        "Open Images class whose boxes are cut out as chips.",
        min_length=1,
        examples=[FACE, "Cat"],
    )
    labels: dict[str, list[str]] = field(
        {"female": ["Woman", "Girl"], "male": ["Man", "Boy"]},
        "Classes",
        "Labels",
        "Exactly two labels, each with the Open Images classes that stand for it. They are put in alphabetical order. "
        "For faces they mean gender presentation as perceived by annotators.",
    )
    label_strategy: Literal["box", "image", "miap"] = field(
        "box",
        "Classes",
        "Label strategy",
        "box: a face takes the label of the person box that contains it. image: every face takes the label of its "
        "image (as in the original notebook, for comparison). miap: a face takes the gender presentation of the MIAP "
        "person box that contains it; MIAP's authors ask that it be used to evaluate, not to train.",
    )
    containment: float = field(
        0.9,
        "Classes",
        "Containment",
        "Share of the face's area that a person box must contain to be a candidate (strategies box and miap).",
        ge=0.5,
        le=1.0,
    )
    images_per_label: int | None = field(
        None,
        "Classes",
        "Images per label",
        "Use at most this many images for each label, chosen by digest of ImageID (the notebook used 150). Empty: "
        "use all.",
        ge=1,
    )
    max_fault_share: float = field(
        0.1,
        "Classes",
        "Maximum share of faults",
        "Stop the run when more than this share of a table's rows breaks the data contract, or of the photographs is "
        "missing or unreadable.",
        ge=0.0,
        le=1.0,
    )
    min_face_size: int = field(
        32,
        "Chips",
        "Minimum face size (pixels)",
        "Drop faces whose box is narrower or shorter than this, in pixels of the stored photograph.",
        ge=8,
        le=1024,
    )
    margin: float = field(
        0.2,
        "Chips",
        "Margin",
        "Widen the face box on each side by this share of its longer side before cutting the square chip.",
        ge=0.0,
        le=1.0,
    )
    chip_size: int = field(
        96,
        "Chips",
        "Chip size (pixels)",
        "Width and height of the network's input. The notebook used 224.",
        ge=32,
        le=256,
    )
    split: Literal["official", "digest"] = field(
        "official",
        "Split",
        "Split",
        "official: follow the release's train, validation and test subsets. digest: split by digest of ImageID, in the "
        "shares below, near-duplicates and the photographs of an author together. Either way, all faces of an image "
        "are in the same split, and training leaves out near-duplicates of photographs in another split.",
    )
    validation_share: float = field(
        0.15, "Split", "Validation share", "Share of the images used for validation (split digest).", ge=0.01, le=0.45
    )
    test_share: float = field(
        0.15, "Split", "Test share", "Share of the images used for testing (split digest).", ge=0.01, le=0.45
    )
    network: str = Field(
        "compact",
        title="Network",
        description="compact: a small residual network for CPUs. notebook: the network of the original notebook. "
        "transfer:<name>: a backbone of keras.applications; its head is trained first, then the whole network. "
        "package.module:function: your own, if the deployment allows it (docs/own-network.md).",
        json_schema_extra={"section": "Training", "enum": list(NETWORK_NAMES)},
    )
    backbone_weights: str = place_field(
        "imagenet",
        "Training",
        "Backbone weights",
        "Initial weights of a transfer network's backbone: imagenet (Keras downloads them), none (random), or the "
        "path or URI of a weights file (.weights.h5).",
        min_length=1,
        names="imagenet|none",
        examples=["imagenet", "none", "/data/weights/mobilenet_v2.weights.h5"],
    )
    frozen_epochs: int = field(
        3,
        "Training",
        "Frozen epochs",
        "Number of epochs at the start in which only the head of a transfer network is trained.",
        ge=0,
        le=100,
    )
    epochs: int = field(30, "Training", "Epochs", "Number of passes over the training faces.", ge=1, le=1000)
    batch_size: int = field(64, "Training", "Batch size", "Number of faces per training step.", ge=2, le=4096)
    optimizer: Literal["muon", "adamw"] = field(
        "muon",
        "Training",
        "Optimizer",
        "muon: Muon for the kernels of convolutions and AdamW for all other weights; needs about half the epochs. "
        "adamw: AdamW for all weights.",
    )
    learning_rate: float = field(
        0.01,
        "Training",
        "Learning rate",
        "Peak learning rate. Use a lower one with adamw, for example 0.002.",
        gt=0.0,
        le=1.0,
    )
    schedule: Literal["cosine", "constant"] = field(
        "cosine",
        "Training",
        "Schedule",
        "cosine: the learning rate warms up, then falls along half a cosine to 1% of its peak. constant: it does not "
        "change.",
    )
    weight_decay: float = field(
        0.05,
        "Training",
        "Weight decay",
        "Decoupled weight decay of kernels. With adamw, 0 means plain Adam.",
        ge=0.0,
        le=1.0,
    )
    label_smoothing: float = field(
        0.1,
        "Training",
        "Label smoothing",
        "Share of the target probability spread evenly over both labels.",
        ge=0.0,
        le=0.5,
    )
    averaging: float = field(
        0.998,
        "Training",
        "Weight averaging",
        "Momentum per step of the moving average of the weights; the averaged weights are validated and saved. 0: no "
        "averaging.",
        ge=0.0,
        le=0.9999,
    )
    augment: bool = field(
        True,
        "Training",
        "Augmentation",
        "Randomly flip, rotate, shift, shear, zoom, relight and recolor training chips. Some are blurred, get noise or "
        "lose a part.",
    )
    mixing: float = field(
        0.5, "Training", "Mixing", "Share of the training faces that are blended with another face.", ge=0.0, le=1.0
    )
    patience: int | None = field(
        None,
        "Training",
        "Patience",
        "Stop after this many epochs without a lower validation loss. Empty: train for all epochs.",
        ge=1,
    )
    checkpoint_minutes: float = field(
        5.0,
        "Training",
        "Minutes between checkpoints",
        "A killed training loses at most this much work.",
        gt=0.0,
        le=600.0,
    )
    balance: bool = field(
        True, "Training", "Class balance", "Weight the training faces so that both labels have the same total weight."
    )
    min_faces: int = field(
        20,
        "Training",
        "Minimum faces per label",
        "Refuse to train with fewer training faces than this for either label. Validation and test need one per label.",
        ge=1,
    )
    exclude_faces: str | None = place_field(
        None,
        "Training",
        "Exclude faces",
        "Path or URI of a CSV file with a column face_id, such as the suspects.csv of an earlier run. The network does "
        "not train on these faces; validation and test keep them. Empty: exclude none.",
        min_length=1,
        examples=["/data/reviewed-suspects.csv"],
    )
    seed: int = field(
        42, "Training", "Seed", "Random seed for shuffling, initial weights and augmentation.", ge=0, le=2**31 - 1
    )
    threshold: float | None = field(
        None,
        "Evaluation",
        "Decision threshold",
        "Predict the second label (male) when its probability is at least this. Empty: use the threshold that training "
        "chose on the validation split.",
        ge=0.01,
        le=0.99,
    )
    min_confidence: float = field(
        0.75,
        "Evaluation",
        "Minimum confidence",
        "Predict 'unknown' for a face when the probability of its label is below this. `max_risk` overrides it.",
        ge=0.5,
        le=0.999,
    )
    max_risk: float | None = risk_field("Evaluation")
    baseline: str | None = model_field(
        "Evaluation",
        "Compare with",
        "Model to compare this run's model with, on the same test faces. Empty: no comparison.",
    )
    force: Annotated[str, OneOf(tuple(STAGES))] | None = field(
        None, "Run", "Redo from stage", "Redo this stage and all stages downstream even if their work is already done."
    )

    @field_validator("labels", mode="before")
    @classmethod
    def _parse_labels(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f'must be a JSON object like {{"female": ["Woman"], ...}} ({error})') from error

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, value: dict[str, list[str]]) -> dict[str, list[str]]:
        if len(value) != 2 or not all(value.values()) or not all(name.strip() for name in value):
            raise ValueError("must hold exactly two named labels, each with at least one class")
        return labels_in_order(value)

    @field_validator("network")
    @classmethod
    def _check_network(cls, value: str) -> str:
        if value not in NETWORK_NAMES and not is_code(value):
            raise ValueError("unknown network, and not of the form package.module:function")
        return value

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.chip_class in self.label_classes:
            raise ValueError(f"chip_class {self.chip_class!r} must not be one of the labels' classes")
        if self.validation_share + self.test_share > 0.8:
            raise ValueError("validation_share and test_share together must leave at least 0.2 for training")
        if self.max_risk is not None and self.threshold is not None:
            raise ValueError("max_risk needs the threshold that training chose: leave threshold empty")
        return self

    @property
    def label_order(self) -> tuple[str, str]:
        """The labels in alphabetical order; a label's index is its class index."""
        first, second = self.labels
        return first, second

    @property
    def label_classes(self) -> dict[str, str]:
        """The label that each Open Images class stands for."""
        return {name: label for label, names in self.labels.items() for name in names}


check_fields(TrainingConfig, STAGES.values())
