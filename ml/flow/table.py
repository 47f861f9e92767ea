"""The stages of the two flows, those of training in order, and what each depends on."""

from __future__ import annotations

from ml.flow.stage import Stage

_CLASSES = ("chip_class", "labels")

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("extract", 3, (*_CLASSES, "max_fault_share"), sources=("delivery", "tables"), by_delivery=True),
        Stage("explore", 2, _CLASSES, inputs=("extract",), sources=("photographs",)),
        Stage(
            "join_labels",
            3,
            (*_CLASSES, "label_strategy", "containment", "images_per_label"),
            inputs=("extract",),
            sources=("listings",),
        ),
        # A later delivery changes nothing for those before it, unless it changes their faces.
        Stage(
            "chip",
            3,
            ("min_face_size", "margin", "max_fault_share"),
            inputs=("join_labels",),
            sources=("delivery", "photographs", "faces"),
            by_delivery=True,
        ),
        Stage(
            "featurize",
            2,
            (*_CLASSES, "chip_size", "split", "validation_share", "test_share", "seed"),
            inputs=("chip",),
        ),
        Stage(
            "train",
            5,
            (
                *("labels", "network", "backbone_weights", "frozen_epochs", "epochs", "batch_size", "optimizer"),
                *("learning_rate", "schedule", "weight_decay", "label_smoothing", "averaging", "augment", "mixing"),
                *("patience", "balance", "min_faces", "seed"),
            ),
            inputs=("featurize",),
            files=("backbone_weights",),
        ),
        # The report shows the exploratory plots, so it waits for them.
        Stage(
            "evaluate",
            4,
            ("labels", "threshold", "min_confidence"),
            inputs=("explore", "featurize", "train"),
            reads=("extract", "join_labels", "chip"),
        ),
        # The other model is named by its attempt, which never changes.
        Stage("compare", 2, ("labels", "baseline"), inputs=("featurize", "train")),
    )
}
# The prediction flow's; its model is named by its attempt too.
PREDICT = Stage(
    "predict", 2, ("photographs", "min_confidence", "sample", "max_fault_share"), sources=("photographs", "model")
)


def find_stage(name: str) -> Stage:
    """The stage of that name, of either flow."""
    return PREDICT if name == PREDICT.name else STAGES[name]


def followers(name: str) -> set[str]:
    """The stage and all that depend on it, directly or not."""
    found = {name}
    for stage in STAGES.values():  # in order, so that one pass is enough
        if found & set(stage.inputs):
            found.add(stage.name)
    return found
