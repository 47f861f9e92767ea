"""The table of stages. To add a stage, add a row here and the file that does the work.

A row describes a stage completely; `ml.flow.stage.Stage` explains its columns. The DAG's tasks and arrows, the command
line, timeouts, the choices of `force`, links, report pages and ledgers derive from the rows and their order.
"""

from __future__ import annotations

from collections.abc import Iterator

from ml.flow.stage import Ledger, Page, Stage


def check_rows(*rows: Stage) -> dict[str, Stage]:
    """Return the stages of a flow by name, in order.

    Raises:
        ValueError: A row names a stage that is not above it, or lacks a body, or has one on Spark.
    """
    stages: dict[str, Stage] = {}
    for stage in rows:
        if unknown := {*stage.inputs, *stage.reads} - set(stages):
            raise ValueError(f"Stage {stage.name} reads {', '.join(sorted(unknown))}, which no row above it defines.")
        if (stage.engine == "spark") == bool(stage.body):
            raise ValueError(f"Stage {stage.name} must have a body unless it runs on Spark, where its job is a file.")
        stages[stage.name] = stage
    return stages


_CLASSES = ("chip_class", "labels")

STAGES = check_rows(
    Stage(
        name="extract",
        version=4,
        engine="spark",
        timeout=6.0,
        purpose="Read, type, check and count the release's tables.",
        leaves="typed tables of the release, `quarantine`",
        pushes="counts of rows, nulls, broken rules",
        fields=(*_CLASSES, "max_fault_share"),
        sources=("delivery", "tables"),
        by_delivery=True,
    ),
    Stage(
        name="join_labels",
        version=5,
        engine="spark",
        timeout=6.0,
        purpose="Give each face a label, or the reason why it has none.",
        leaves="one row per face: its label, or the reason why it has none",
        pushes="ledger of reasons",
        fields=(*_CLASSES, "label_strategy", "containment", "images_per_label"),
        inputs=("extract",),
        sources=("listings",),
        ledger=Ledger("{chip_class} boxes of the release by outcome", kept="labelled"),
    ),
    # A new delivery leaves the output for earlier ones valid, unless it changes their faces.
    Stage(
        name="chip",
        version=6,
        engine="spark",
        timeout=24.0,
        purpose="Cut every labeled face out of its photograph.",
        leaves="upright square face chips",
        pushes="ledger of reasons",
        fields=("min_face_size", "margin", "max_fault_share"),
        inputs=("join_labels",),
        sources=("delivery", "photographs", "faces"),
        by_delivery=True,
        ledger=Ledger("Labeled boxes by outcome of chipping", kept="chipped"),
    ),
    # Of extract it reads the authors, for the split by digest. If only authors change, the split made before stays as
    # good as it was.
    Stage(
        name="featurize",
        version=5,
        engine="spark",
        timeout=12.0,
        purpose="Turn the chips into shuffled tensors, sharded by split.",
        leaves="shuffled tensors by split",
        pushes="faces by split and label",
        fields=(*_CLASSES, "chip_size", "split", "validation_share", "test_share"),
        inputs=("chip",),
        reads=("extract",),
    ),
    # A process, because it needs seconds and no JVM. It runs beside train.
    Stage(
        name="explore",
        version=6,
        engine="process",
        timeout=6.0,
        body="ml.stages.explore:explore",
        purpose="Count, plot and show the release and what became of its faces.",
        leaves="`explore.html`, plots, a contact sheet",
        pushes="the analyses, class balance, URIs",
        fields=(*_CLASSES, "label_strategy", "min_face_size", "margin"),
        inputs=("extract", "join_labels", "chip", "featurize"),
        sources=("photographs",),
        pages=(Page("exploration", "explore.html", "The data explored"),),
    ),
    Stage(
        name="train",
        version=10,
        engine="process",
        timeout=48.0,
        body="ml.stages.train:train",
        purpose="Train the network of a run.",
        leaves="network, history, curves",
        pushes="best epoch, validation metrics, URIs",
        fields=(
            *("labels", "network", "backbone_weights", "frozen_epochs", "epochs", "batch_size", "optimizer"),
            *("learning_rate", "schedule", "weight_decay", "label_smoothing", "averaging", "augment", "mixing"),
            *("patience", "balance", "min_faces", "exclude_faces", "seed"),
        ),
        files=("backbone_weights", "exclude_faces"),
        code=("network",),
        inputs=("featurize",),
        # The interval between checkpoints does not affect the model. The class only names the MLflow experiment.
        unkeyed=("checkpoint_minutes", "chip_class"),
        # Only a run with `exclude_faces` has this ledger.
        ledger=Ledger("Training faces by use", kept="trained on"),
    ),
    # The report shows the plots of explore.
    Stage(
        name="evaluate",
        version=12,
        engine="process",
        timeout=6.0,
        body="ml.stages.evaluate:evaluate",
        purpose="Evaluate the model of a run on its test split, look for drift, and write the report.",
        leaves="`report.html`, model card, metrics, plots, profile of the data",
        pushes="metrics with intervals, drift, URIs",
        fields=("labels", "threshold", "min_confidence", "max_risk"),
        inputs=("explore", "featurize", "train"),
        reads=("extract", "join_labels", "chip"),
        sources=("reference",),  # the report compares the data with its own
        # Only the pages' wording depends on the class; its effect on the faces is part of the inputs' keys.
        unkeyed=("chip_class",),
        pages=(Page("report", "report.html", "Full report"), Page("card", "model_card.md", "Model card")),
    ),
    # Separate from evaluate, so that the report neither waits for it nor depends on it.
    Stage(
        name="suspects",
        version=4,
        engine="process",
        timeout=6.0,
        body="ml.stages.suspects:suspects",
        purpose="List the faces whose label the model contradicts most surely.",
        leaves="`suspects.csv`, `suspects.html` with the chips, the scores of all faces",
        pushes="suspects by split and label, URIs",
        fields=("labels",),
        inputs=("featurize", "train"),
        reads=("extract",),
        unkeyed=("chip_class",),  # as for evaluate
        pages=(
            Page("suspects", "suspects.html", "Suspect labels"),
            Page("suspect_list", "suspects.csv", "Suspect labels (CSV)"),
        ),
    ),
    # `baseline` names an attempt, which never changes, so that its name is enough for the key.
    Stage(
        name="compare",
        version=4,
        engine="process",
        timeout=6.0,
        body="ml.stages.compare:compare",
        purpose="Compare the model of a run with its baseline, another training's model, on the same test faces.",
        leaves="this model next to that of `baseline`; skipped without one",
        pushes="differences with intervals, URIs",
        fields=("labels", "baseline"),
        inputs=("featurize", "train"),
        unkeyed=("chip_class",),  # as for evaluate
        only_with="baseline",
        pages=(Page("comparison", "compare.html", "Comparison"),),
    ),
)
# The stages of the prediction flow.
PREDICT = Stage(
    name="predict",
    version=8,
    engine="spark",
    timeout=48.0,
    purpose="Classify the faces of a folder or bucket of photographs.",
    leaves="tables `faces` and `photographs`, some annotated photographs",
    pushes="faces by label, ledger of photographs",
    fields=("photographs", "min_confidence", "max_risk", "sample", "max_fault_share", "detector", "min_face"),
    sources=("photographs", "model", "detector_file"),
    unkeyed=("model", "photograph_columns", "detector_file"),  # the digests in `sources` cover them
)
MONITOR = Stage(
    name="monitor",
    version=1,
    engine="process",
    timeout=1.0,
    body="ml.stages.monitor:monitor",
    purpose="Compare the faces and answers of a bulk prediction with those of the model's training.",
    leaves="`monitoring.html`, `monitoring.json`",
    pushes="differences in answers, confidence, face size, brightness",
    fields=(),
    inputs=("predict",),
    sources=("evaluation",),  # of the model, whose test faces are what the answers are compared with
    pages=(Page("monitoring", "monitoring.html", "Compared with the training"),),
)
SWEEP = Stage(
    name="sweep",
    version=2,
    engine="process",
    timeout=1.0,
    body="ml.stages.sweep:sweep",
    purpose="Compare the trainings of a sweep by their scores on the validation split.",
    leaves="`sweep.html`, `sweep.csv`",
    pushes="mean and spread by combination, the best training",
    fields=(*STAGES["train"].fields, "grid", "seeds"),
    inputs=("featurize",),
    compares=STAGES["train"],
    unkeyed=("chip_class",),  # only the page's wording depends on it
    pages=(Page("sweep", "sweep.html", "The sweep"),),
)
ALL_STAGES = {**STAGES, **{stage.name: stage for stage in (PREDICT, MONITOR, SWEEP)}}


def find_stage(name: str) -> Stage:
    """Return the stage with this name, from any flow."""
    return ALL_STAGES[name]


def downstream_of(name: str) -> set[str]:
    """Return the names of the stage and of all stages that depend on it, directly or indirectly."""
    found = {name}
    for stage in STAGES.values():  # in order, so that one pass is enough
        if found & set(stage.inputs):
            found.add(stage.name)
    return found


def arrows() -> Iterator[tuple[str, str]]:
    """Yield the arrows of the graph of stages, from each input to its stage, without those implied by other arrows."""
    for stage in STAGES.values():
        for name in stage.inputs:
            if not any(other in downstream_of(name) for other in stage.inputs if other != name):
                yield name, stage.name


def find_page(name: str) -> tuple[Stage, Page]:
    """Return the page with this name and the stage that writes it."""
    return next((stage, page) for stage in ALL_STAGES.values() for page in stage.pages if page.name == name)
