"""The parameters of the training flow, from which Airflow's form, the command line and the docs are generated."""

from __future__ import annotations

import datetime
import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ml.config.parameter import FlowConfig, OneOf, check_fields, field
from ml.flow.table import STAGES

FACE = "Human face"  # the class of which the labels are perceived gender presentation
# The backbones of keras.applications that take chips as small as ours; named here, because this module loads no Keras.
BACKBONES = (
    *(f"ConvNeXt{size}" for size in ("Tiny", "Small", "Base", "Large", "XLarge")),
    *(f"DenseNet{depth}" for depth in (121, 169, 201)),
    *(f"EfficientNetB{number}" for number in range(8)),
    *(f"EfficientNetV2{size}" for size in ("B0", "B1", "B2", "B3", "S", "M", "L")),
    *("MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large"),
    *(f"ResNet{depth}{version}" for version in ("", "V2") for depth in (50, 101, 152)),
    *("VGG16", "VGG19"),
)
NETWORK_NAMES = ("compact", "notebook", *(f"transfer:{name}" for name in BACKBONES))


class TrainingConfig(FlowConfig):
    """What one run of the training flow does."""

    release: str = field(
        "/data/open-images",
        "Release",
        "Release folder",
        "Path or URI of a release in the official Open Images layout: annotation CSV files, and photographs as "
        "{train,validation,test}/<ImageID>.jpg. Or of a landing: a folder of such releases, each in a folder "
        "<YYYY-MM-DD> with a delivery.json.",
        min_length=1,
        examples=["/data/open-images", "s3://bucket/landing"],
    )
    as_of: datetime.date | None = field(
        None,
        "Release",
        "As of",
        "Of a landing, deliveries up to this day are seen. Empty: those before the run; a scheduled or backfilled run "
        "always sees those before the end of its interval.",
    )
    retrain_without_news: bool = field(
        False,
        "Release",
        "Retrain without news",
        "A scheduled or backfilled run trains also where no delivery is dated in its interval; otherwise its tasks are "
        "skipped.",
    )
    photographs: str | None = field(
        None,
        "Release",
        "Photographs elsewhere",
        "Path, URI or http(s) address that holds the folders train, validation and test, where the photographs do not "
        "lie in the release folder.",
        min_length=1,
        examples=["s3://open-images-dataset", "https://s3.amazonaws.com/open-images-dataset"],
    )
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
        "Exactly two labels, each with the Open Images classes that give it. The labels' order is alphabetical. For "
        "faces they mean gender presentation as perceived by annotators.",
    )
    label_strategy: Literal["box", "image", "miap"] = field(
        "box",
        "Classes",
        "Label strategy",
        "box: a face takes the label of the person box that holds it. image: every face takes the label of its image "
        "(the original notebook's way, for comparison). miap: the gender presentation of the MIAP person box that "
        "holds it; its authors ask that it be used to evaluate, not to train.",
    )
    containment: float = field(
        0.9,
        "Classes",
        "Containment",
        "Share of the face's area that a person box must hold to be a candidate (strategies box and miap).",
        ge=0.5,
        le=1.0,
    )
    images_per_label: int | None = field(
        None,
        "Classes",
        "Images per label",
        "At most this many images for each label, chosen by digest of ImageID (the notebook used 150); empty: all.",
        ge=1,
    )
    max_fault_share: float = field(
        0.1,
        "Classes",
        "Largest share of faults",
        "The run stops when more than this share of the boxes is invalid or of the photographs absent or unreadable.",
        ge=0.0,
        le=1.0,
    )
    min_face_size: int = field(
        32,
        "Chips",
        "Smallest face (pixels)",
        "Faces whose box is narrower or lower than this, in pixels of the stored photograph, are dropped.",
        ge=8,
        le=1024,
    )
    margin: float = field(
        0.2,
        "Chips",
        "Margin",
        "Added on each side of a face box, as a share of its longer side, before the square chip is cut.",
        ge=0.0,
        le=1.0,
    )
    chip_size: int = field(
        96,
        "Chips",
        "Chip size (pixels)",
        "Width and height of the network's input. The notebook's network had 224.",
        ge=32,
        le=256,
    )
    split: Literal["official", "digest"] = field(
        "official",
        "Split",
        "Split",
        "official: the release's own train, validation and test images. digest: by digest of ImageID, in the shares "
        "below. Either way no image lies on two sides.",
    )
    validation_share: float = field(
        0.15, "Split", "Validation share", "Share of the images for validation (split digest).", ge=0.01, le=0.45
    )
    test_share: float = field(
        0.15, "Split", "Test share", "Share of the images for the test (split digest).", ge=0.01, le=0.45
    )
    network: str = Field(
        "compact",
        title="Network",
        description="compact: a small residual network for CPUs. notebook: the network of the original report. "
        "transfer:<name>: a backbone of keras.applications, trained frozen first and then as a whole.",
        json_schema_extra={"section": "Training", "enum": list(NETWORK_NAMES)},
    )
    backbone_weights: str = field(
        "imagenet",
        "Training",
        "Backbone's weights",
        "Of a transfer network: imagenet (Keras downloads them), none (it starts at random), or path or URI of a "
        "weights file of the backbone (.weights.h5).",
        min_length=1,
        examples=["imagenet", "none", "/data/weights/mobilenet_v2.weights.h5"],
    )
    frozen_epochs: int = field(
        3,
        "Training",
        "Frozen epochs",
        "First epochs of a transfer network in which only its head learns.",
        ge=0,
        le=100,
    )
    epochs: int = field(30, "Training", "Epochs", "Passes over the training faces.", ge=1, le=1000)
    batch_size: int = field(64, "Training", "Batch size", "Faces a training step.", ge=2, le=4096)
    optimizer: Literal["muon", "adamw"] = field(
        "muon",
        "Training",
        "Optimizer",
        "muon: kernels of convolutions by Muon, all else by AdamW; learns from half the epochs. adamw: AdamW alone.",
    )
    learning_rate: float = field(
        0.01,
        "Training",
        "Learning rate",
        "Peak learning rate; adamw wants less, such as 0.002.",
        gt=0.0,
        le=1.0,
    )
    schedule: Literal["cosine", "constant"] = field(
        "cosine",
        "Training",
        "Schedule",
        "cosine: the learning rate warms up, then falls along half a cosine to a hundredth. constant: it stays.",
    )
    weight_decay: float = field(
        0.05,
        "Training",
        "Weight decay",
        "Decoupled decay of kernels; with adamw, 0 is plain Adam.",
        ge=0.0,
        le=1.0,
    )
    label_smoothing: float = field(
        0.1, "Training", "Label smoothing", "Share of each label's weight that is spread over both.", ge=0.0, le=0.5
    )
    averaging: float = field(
        0.998,
        "Training",
        "Averaged weights",
        "Momentum a step of the moving average of the weights, which is what is validated and kept; 0: no average.",
        ge=0.0,
        le=0.9999,
    )
    augment: bool = field(
        True,
        "Training",
        "Augmentation",
        "Flip, turn, shift, shear, zoom and relight training chips at random, and erase a part of some.",
    )
    mixing: float = field(
        0.5, "Training", "Mixing", "Share of the training faces that are blended with another.", ge=0.0, le=1.0
    )
    patience: int | None = field(
        None,
        "Training",
        "Patience",
        "Stop after so many epochs without a lower validation loss; empty: go on to the last epoch.",
        ge=1,
    )
    checkpoint_minutes: float = field(
        5.0, "Training", "Minutes between checkpoints", "At most this much work is lost to a kill.", gt=0.0, le=600.0
    )
    balance: bool = field(
        True, "Training", "Class balance", "Weight the training faces so that both labels count the same."
    )
    min_faces: int = field(
        20,
        "Training",
        "Faces needed a label",
        "Training refuses to start with fewer training faces of a label than this; validation and test need one each.",
        ge=1,
    )
    seed: int = field(
        42, "Training", "Seed", "Seed of shuffling, initial weights and augmentation.", ge=0, le=2**31 - 1
    )
    threshold: float | None = field(
        None,
        "Evaluation",
        "Decision threshold",
        "A face is given the second label (male) when its probability is at least this; empty: the threshold that "
        "training chose on the validation split.",
        ge=0.01,
        le=0.99,
    )
    min_confidence: float = field(
        0.75,
        "Evaluation",
        "Least confidence",
        "Below this probability of the label that it would be given, a face is answered 'unknown'.",
        ge=0.5,
        le=0.999,
    )
    baseline: str | None = field(
        None,
        "Evaluation",
        "Compare with",
        "Attempt folder of another training, whose model is compared with this run's on the same test faces; empty: "
        "no comparison.",
        min_length=1,
        examples=["/data/storage/stages/train/<key>/attempts/<attempt>"],
    )
    force: Annotated[str, OneOf(tuple(STAGES))] | None = field(
        None, "Run", "Redo from stage", "Redo this stage and all that follow it, although they are found done."
    )

    @field_validator("labels", mode="before")
    @classmethod
    def _parse_labels(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f'must be a JSON object such as {{"female": ["Woman"], ...}} ({error})') from error

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, value: dict[str, list[str]]) -> dict[str, list[str]]:
        if len(value) != 2 or not all(value.values()) or not all(name.strip() for name in value):
            raise ValueError("must hold exactly two named labels, each with at least one class")
        classes = [name for names in value.values() for name in names]
        if twice := sorted({name for name in classes if classes.count(name) > 1}):
            raise ValueError(f"must not name a class twice: {', '.join(twice)}")
        return {label: value[label] for label in sorted(value)}

    @field_validator("network")
    @classmethod
    def _check_network(cls, value: str) -> str:
        if value not in NETWORK_NAMES:
            raise ValueError("there is no such network")
        return value

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.chip_class in self.label_classes:
            raise ValueError(f"chip_class {self.chip_class!r} must not be one of the labels' classes")
        if self.validation_share + self.test_share > 0.8:
            raise ValueError("validation_share and test_share together must leave at least 0.2 for training")
        return self

    @property
    def label_order(self) -> tuple[str, str]:
        """The labels by index, alphabetical: index 0 is the first."""
        first, second = self.labels
        return first, second

    @property
    def label_classes(self) -> dict[str, str]:
        """Class name to the label it gives."""
        return {name: label for label, names in self.labels.items() for name in names}


check_fields(TrainingConfig, STAGES.values())
