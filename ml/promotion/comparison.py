"""Runs of the comparison flow: two evaluated models on the same test faces, without a verdict.

The run folder is a copy of the first model's own run that names the other model as baseline. Stage compare therefore
has the same key as in any other run that compares the two, and a comparison that exists is found.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml import storage
from ml.config.comparison import ModelsConfig, PairConfig
from ml.config.deployment import Deployment
from ml.config.roots import Roots, validate_below
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError, DataError
from ml.promotion.candidates import Candidate, named_candidate, newest_candidate
from ml.tracking.models import find_model
from ml.tracking.registry import CHAMPION
from ml.workflow.attempt import is_committed
from ml.workflow.manifest import load_manifest
from ml.workflow.run import Run, slug


def open_comparison(
    root: str, run_id: str, values: Mapping[str, Any], deployment: Deployment, roots: Roots | None = None
) -> Run:
    """Validate the parameters, find both models, and write the run folder.

    Args:
        root: The storage root.
        run_id: Id of the run, such as Airflow's.
        values: The parameters `model` and `baseline`.
        deployment: The deployment's settings.
        roots: The places that parameters may name; None: any.

    Raises:
        ConfigurationError: A parameter is wrong, or there is no such model.
        DataError: Attempts of a model's run were removed.
    """
    config = validate_below(dict(values), ModelsConfig(), roots)
    root = storage.normalize(root)
    defaults = deployment.defaults
    candidate = named_candidate(root, config.model, defaults, "model") if config.model else newest_candidate(root)
    baseline = find_model(root, config.baseline or CHAMPION, defaults, "baseline").train.uri
    if candidate.trained.uri == baseline:
        raise ConfigurationError("Both models are the same.", "Name two different models.")
    return copy_run(candidate, run_id, "comparison", baseline, PairConfig)


def copy_run(candidate: Candidate, run_id: str, flow: str, baseline: str | None, kind: type[TrainingConfig]) -> Run:
    """Write a copy of a candidate's own run, in which stage compare gets the same key as it would in that run.

    Args:
        candidate: The candidate.
        run_id: Id of the new run.
        flow: The new run's flow.
        baseline: The attempt of stage train that the candidate is compared with; None to compare it with none.
        kind: The configuration of that flow.

    Raises:
        DataError: Attempts of the candidate's run were removed.
    """
    changed = candidate.run.config.model_copy(update={"baseline": baseline, "force": None})
    run = dataclasses.replace(
        candidate.run, slug=slug(run_id, flow), run_id=run_id, config=kind(**changed.model_dump())
    )
    run.write()
    for manifest in (load_manifest(candidate.evaluated.inputs["featurize"]), candidate.trained, candidate.evaluated):
        run.pin(manifest)
        if not is_committed(manifest.uri):  # maintenance had begun to remove it before it was pinned
            raise DataError(f"{manifest.uri} was removed meanwhile.", "Name a model that still exists.")
    return run
