"""Candidates for champion: the evaluated models of the training runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from ml import storage
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError, DataError
from ml.tracking.models import find_model
from ml.workflow.folder import TRAINING, read_run_record, runs_with
from ml.workflow.manifest import Manifest, load_manifest
from ml.workflow.run import Run, load_run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """An evaluated model of a training run.

    Attributes:
        run: The training run.
        trained: The run's attempt of stage train.
        evaluated: The run's attempt of stage evaluate.
        as_of: The run used deliveries before this instant; ISO 8601, UTC.
    """

    run: Run
    trained: Manifest
    evaluated: Manifest
    as_of: str


def candidate_of(run_uri: str, evaluated: str | None = None) -> Candidate:
    """Return the candidate of a run.

    Args:
        run_uri: The run folder.
        evaluated: URI of the run's attempt of stage evaluate; None for the attempt that the run has pinned.

    Raises:
        ConfigurationError: There is no such run.
        DataError: The run has no evaluation, or its attempts were removed.
    """
    run = load_run(run_uri)
    evaluation = load_manifest(evaluated) if evaluated else run.pinned("evaluate")
    trained = load_manifest(evaluation.inputs["train"])
    assert run.as_of, "which every training run has"
    return Candidate(run, trained, evaluation, run.as_of)


def evaluated_runs(root: str) -> Iterator[Candidate]:
    """Yield the candidates of all training runs in a storage root, in no order; skip runs with missing attempts."""
    for uri in runs_with(storage.normalize(root), "evaluate"):
        try:
            record = read_run_record(uri)
            # A promotion run pins stage evaluate too, but is not a training run.
            if record and record.flow == TRAINING:
                yield candidate_of(uri)
        except (ConfigurationError, DataError) as error:  # removed since, or of an earlier version of this program
            log.warning("skipped: %s", error)


def newest_candidate(root: str) -> Candidate:
    """Return the candidate with the latest `as_of`; among several, the one that was trained last.

    Raises:
        ConfigurationError: No run has evaluated a model yet.
    """
    found = max(evaluated_runs(root), key=age, default=None)
    if found is None:
        raise ConfigurationError(f"No run in {root} has evaluated a model yet.", "Run the training flow first.")
    return found


def candidate_of_training(root: str, train: str) -> Candidate:
    """Return the candidate of an attempt of stage train; among several runs, the one with the latest `as_of`.

    Raises:
        ConfigurationError: No run has evaluated the attempt.
    """
    uri = storage.normalize(train)
    found = max((each for each in evaluated_runs(root) if each.trained.uri == uri), key=age, default=None)
    if found is None:
        raise ConfigurationError(
            f"No run in {root} has evaluated the training {train}.",
            "Name a model that a run has evaluated.",
        )
    return found


def named_candidate(root: str, name: str, defaults: TrainingConfig, parameter: str = "candidate") -> Candidate:
    """Return the candidate of a model that a parameter names, see `ml.tracking.models.find_model`.

    Args:
        root: The storage root.
        name: The model's name.
        defaults: The deployment's defaults, whose `chip_class` names the registered model.
        parameter: The parameter, for messages.

    Raises:
        ConfigurationError: There is no such model, or no run has evaluated it.
        DataError: The model's run has no evaluation, or its attempts were removed.
    """
    found = find_model(root, name, defaults, parameter)
    if found.version:
        return candidate_of(found.version.run, found.version.evaluate)
    return candidate_of(found.run) if found.run else candidate_of_training(root, found.train.uri)


def age(candidate: Candidate) -> tuple[str, str]:
    """Return the sort key of a candidate: by `as_of`, then by when training finished."""
    return candidate.as_of, candidate.trained.finished
