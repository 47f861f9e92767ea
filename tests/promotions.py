"""Makes runs whose model was evaluated, as the training flow leaves them, and what the gate is told of two models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from features import make_features, make_run
from models import make_model

from ml import storage
from ml.candidates import Candidate, candidate_of
from ml.intervals import proportion
from ml.runs import slug
from ml.stages import Manifest

FACES = {"train": (4, 4), "validation": (3, 3), "test": (60, 60)}


def make_candidate(root: Path, name: str, as_of: str | None = None, right: int = 108, **model: Any) -> Candidate:
    """Write a run whose model is trained and evaluated; features are the same for all runs below `root`.

    Args:
        root: The storage root.
        name: The run's id, and the name of its attempts.
        as_of: As `run.json` has it; None for a run without one.
        right: How many of the 120 test faces the evaluation says that the model gets right.
        model: What `make_model` is told.
    """
    features = make_features(root, FACES)
    trained = _rewrite(make_model(root, name=name, **model), key=f"train-{name}", inputs={"featurize": features.uri})
    share = proportion(right, 120)
    uri = storage.join(storage.normalise(root), "stages", "evaluate", "0e", "attempts", name)
    metrics = {
        "faces": 120,
        "accuracy": share,
        "balanced_accuracy": share,
        "auc": share,
        "log_loss": {"value": 0.3},
        "majority": {"label": "female", "value": 0.5},
        "worst_slice": None,
        "report": storage.join(uri, "report.html"),
    }
    evaluated = _rewrite(
        trained,
        stage="evaluate",
        key=f"evaluate-{name}",
        uri=uri,
        files=[],
        metrics=metrics,
        inputs={"featurize": features.uri, "train": trained.uri},
    )
    run = make_run(root, features)
    run = type(run)(run.root, slug(name), name, run.config, run.sources)
    run.write()
    if as_of:
        told = storage.join(run.uri, "run.json")
        storage.write_json(told, {**storage.read_json(told), "as_of": as_of})
    for manifest in (features, trained, evaluated):
        run.pin(manifest)
    return candidate_of(run.uri)


def _rewrite(manifest: Manifest, **changes: Any) -> Manifest:
    changed = manifest.model_copy(update=changes)
    storage.write_bytes(storage.join(changed.uri, "manifest.json"), changed.model_dump_json().encode())
    return changed


def event_of(candidate: Candidate, run_type: str = "scheduled") -> dict[str, Any]:
    """What the asset event of the candidate's evaluation tells."""
    return {"run": candidate.run.uri, "attempt": candidate.evaluated.uri, "run_type": run_type}
