"""Make runs with an evaluated model, like those of the training flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ml import storage
from ml.metrics.estimate import proportion
from ml.metrics.records import EvaluationRecord
from ml.model.record import MlflowRun
from ml.promotion.candidates import Candidate, candidate_of
from ml.workflow.manifest import Manifest
from ml.workflow.run import Run, slug
from support.features import make_features, make_run
from support.models import make_model
from support.training import NOT_LOGGED, make_record

FACES = {"train": (4, 4), "validation": (3, 3), "test": (60, 60)}


def make_candidate(
    root: Path,
    name: str,
    as_of: str = "2020-01-01T00:00:00+00:00",
    right: int = 108,
    mlflow: MlflowRun = NOT_LOGGED,
    finished: str = "2020-01-01T01:00:00+00:00",
    **model: Any,
) -> Candidate:
    """Write a run whose model is trained and evaluated; the features are the same for all runs below `root`.

    Args:
        root: The storage root.
        name: The run's id, and the name of its attempts.
        as_of: The run saw what was delivered before this instant.
        right: How many of the 120 test faces the evaluation says that the model gets right.
        mlflow: What the training's metrics say of MLflow.
        finished: When the training finished.
        model: Arguments of `make_model`; if empty, there is only a manifest and no network.
    """
    features = make_features(root, FACES)
    uri = storage.join(storage.normalize(root), "stages/train/0a/attempts", name)
    bare = features.model_copy(update={"stage": "train", "uri": uri, "files": [], "metrics": {}})
    trained = make_model(root, name=name, **model) if model else bare
    trained = _write(
        trained,
        attempt=name,
        key=f"train-{name}",
        inputs={"featurize": features.uri},
        finished=finished,
        metrics=make_record(uri, mlflow).json_values(),
    )
    uri = storage.join(storage.normalize(root), "stages/evaluate/0e/attempts", name)
    evaluated = _write(
        trained,
        stage="evaluate",
        key=f"evaluate-{name}",
        uri=uri,
        files=[],
        metrics=evaluation(right, storage.join(uri, "report.html")).json_values(),
        inputs={"featurize": features.uri, "train": trained.uri},
    )
    made = make_run(root, features)
    run = Run(made.root, slug(name), name, made.config, made.sources, as_of)
    run.write()
    for manifest in (features, trained, evaluated):
        run.pin(manifest)
    return candidate_of(run.uri)


def evaluation(right: int, report: str = "file:///report.html") -> EvaluationRecord:
    """Return the record of an evaluation with this many of 120 faces right, 60 of each label."""
    share = {**proportion(right, 120).model_dump(), "images": 120}
    half = {"value": 0.5, "low": 0.4, "high": 0.6, "count": 120, "images": 120}
    loss = {"value": 0.3, "low": 0.2, "high": 0.4, "count": 120, "images": 120}
    of_label = {**dict.fromkeys(("precision", "recall", "f1", "average_precision"), share), "support": 60}
    return EvaluationRecord.model_validate(
        {
            "faces": 120,
            "images": 120,
            **dict.fromkeys(("accuracy", "balanced_accuracy", "auc"), share),
            **dict.fromkeys(("log_loss", "brier", "ece"), loss),
            "majority": {"label": "female", **half},
            "beats_majority": right > 70,
            "recall_gap": {**loss, "better": "female", "worse": "male"},
            "by_label": {"female": of_label, "male": of_label},
            "abstention": {"min_confidence": 0.75, "coverage": share, "accuracy": share, "unknown": 0},
            "worst_slice": None,
            "report": report,
            **dict.fromkeys(("card", "metrics", "predictions", "model"), "file:///none"),
            "plots": {},
        }
    )


def _write(manifest: Manifest, **changes: Any) -> Manifest:
    changed = manifest.model_copy(update=changes)
    storage.write_bytes(storage.join(changed.uri, "manifest.json"), changed.model_dump_json().encode())
    return changed


def event_of(candidate: Candidate, run_type: str = "scheduled") -> dict[str, Any]:
    """Return the extra of the asset event of the candidate's evaluation."""
    return {"run": candidate.run.uri, "attempt": candidate.evaluated.uri, "run_type": run_type}
