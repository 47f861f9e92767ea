"""Runs of the prediction flow: the photographs of a folder or bucket, and the model that predicts them."""

from __future__ import annotations

import logging
from typing import Any

from ml import storage
from ml.config.deployment import Deployment
from ml.config.prediction import PredictionConfig
from ml.config.roots import Roots, validate_below
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError, DataError
from ml.photographs.opening import open_photographs
from ml.photographs.source import Columns
from ml.prediction.finding import Finding, file_digest
from ml.prediction.listing import list_photographs, write_listing
from ml.tracking.models import find_model
from ml.tracking.registry import Registry
from ml.workflow import layout
from ml.workflow.attempt import is_committed
from ml.workflow.folder import read_pin, runs_with
from ml.workflow.manifest import load_manifest
from ml.workflow.run import FlowRun, slug

log = logging.getLogger(__name__)


def newest_model(root: str) -> str:
    """Return the URI of the most recent attempt of stage train that a run has pinned.

    Raises:
        ConfigurationError: No run has trained a model yet.
    """
    found = []
    for uri in runs_with(storage.normalize(root), "train"):
        try:
            if pin := read_pin(layout.pin_uri(uri, "train")):
                found.append(load_manifest(pin.attempt))
        except DataError as error:  # removed since, perhaps to free space
            log.warning("skipped: %s", error)
    if not found:
        raise ConfigurationError(
            f"No run in {root} has trained a model yet.", "Run `make demo` first, or name a model."
        )
    return max(found, key=lambda manifest: manifest.finished).uri


def default_model(root: str, defaults: TrainingConfig) -> str:
    """Return the train attempt of the champion for the deployment's `chip_class`, or the most recent without one.

    Raises:
        ConfigurationError: No run has trained a model yet.
    """
    registry = Registry(storage.normalize(root), defaults)
    if champion := registry.champion():
        log.info("the model is the champion: %s, %s", champion.title, champion.train)
        return champion.train
    attempt = newest_model(root)
    log.info("%s has no champion; using the most recently trained model: %s", registry.name, attempt)
    return attempt


def choose_model(root: str, name: str | None, defaults: TrainingConfig) -> str:
    """Return the URI of the train attempt that predicts: the named model, or `default_model` without a name.

    Raises:
        ConfigurationError: There is no such model.
        DataError: The model was removed.
    """
    return find_model(root, name, defaults).train.uri if name else default_model(root, defaults)


def find_evaluation(root: str, model: str) -> str:
    """Return the URI of the newest evaluation of a model that a run in the storage root has pinned; empty without one.

    Args:
        root: The storage root.
        model: The model's attempt of stage train.
    """
    found = []
    for uri in runs_with(root, "evaluate"):
        try:
            trained, evaluated = (read_pin(layout.pin_uri(uri, stage)) for stage in ("train", "evaluate"))
        except DataError as error:
            log.warning("skipped: %s", error)
            continue
        if trained and evaluated and trained.attempt == model and is_committed(evaluated.attempt):
            found.append(evaluated.attempt)
    return max(found, key=layout.attempt_name, default="")


def _list(photographs: str, run: str) -> str:
    """List the photographs in a run's folder, and return their digest."""
    uri = layout.photographs_uri(run)
    count, digest = write_listing(list_photographs(photographs), uri)
    if not count:
        storage.remove(uri)
        raise DataError(
            f"{photographs} holds no JPEG or PNG file, Parquet file or tar archive.",
            "Correct the parameter `photographs`.",
        )
    return digest


def open_prediction(
    root: str, run_id: str, values: dict[str, Any], deployment: Deployment, roots: Roots | None = None
) -> FlowRun[PredictionConfig]:
    """Validate the parameters, list the photographs, choose the model, and write the run folder.

    Args:
        root: The storage root.
        run_id: The run's id.
        values: Parameters that override the deployment's.
        deployment: The deployment's settings.
        roots: The places that parameters may name; None: any.

    Raises:
        ConfigurationError: A parameter is wrong, there is no model, it cannot promise `max_risk`, or the storage root
            has a forbidden character.
        DataError: There are no photographs.
    """
    config = validate_below(values, deployment.prediction, roots)
    photographs = storage.normalize(config.photographs)
    if not storage.exists(photographs):
        raise DataError(f"There is no folder {photographs}.", "Correct the parameter `photographs`.")
    root = storage.normalize(root)
    storage.check_root(root)
    model = choose_model(root, config.model, deployment.defaults)
    if config.max_risk is not None:  # before the listing, which may take long
        # Imported here, because it loads NumPy, and most runs need neither.
        from ml.metrics.promise import require_promise
        from ml.model.loading import read_description

        require_promise(read_description(load_manifest(model)).risk, config.max_risk)
    # Fix both now: the job may start later and in another folder, and must not see newer photographs or models.
    config = config.model_copy(update={"photographs": photographs, "model": model})
    name = slug(run_id, "prediction")
    source = open_photographs(photographs, Columns.parse(config.photograph_columns))
    # Shards are not listed: that would read the archives once more.
    digest = source.digest() if source.shards() else _list(photographs, layout.run_uri(root, name))
    sources = {
        "photographs": digest,
        "model": model,
        "detector_file": file_digest(Finding.of(config).file),
        "evaluation": find_evaluation(root, model),
    }
    run = FlowRun(root, name, run_id, config, sources)
    run.write()
    # The listing may take long. The run now holds its model, but maintenance may have removed it before.
    if not is_committed(model):
        raise DataError(f"The model {model} was removed meanwhile.", "Name another model, or start the run again.")
    return run
