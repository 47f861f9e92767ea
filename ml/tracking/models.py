"""Find the trained model that a parameter names. All flows and commands name models in the same ways.

What is found is one attempt of stage train with one URI, whichever way it was named, so that a stage's key does not
depend on the way.
"""

from __future__ import annotations

from typing import NamedTuple

from ml import storage
from ml.config.parameter import is_name
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError, StageError
from ml.tracking.registry import CHAMPION, PREVIOUS, Registry, Version
from ml.workflow.find import ADVICE, find_run, find_training, known_runs, newest_runs
from ml.workflow.folder import TRAINING, read_run_record
from ml.workflow.manifest import Manifest, load_manifest


class NamedModel(NamedTuple):
    """A trained model that was found by its name.

    Attributes:
        train: The manifest of its attempt of stage train.
        version: The registered version, if it was named by one.
        run: The folder of the training run, if it was named by one.
    """

    train: Manifest
    version: Version | None = None
    run: str | None = None


def find_model(root: str, name: str, config: TrainingConfig, parameter: str = "model") -> NamedModel:
    """Return the model that a parameter names.

    Args:
        root: The storage root.
        name: `champion`, `previous`, the number of a registered version, the id of a run, or, if it has a slash, the
            path or URI of an attempt folder of stage train or of a run folder.
        config: A configuration whose `chip_class` names the registered model.
        parameter: The parameter, for messages.

    Raises:
        ConfigurationError: There is no such model. The message lists the models that exist.
        DataError: The model was removed, or its manifest is damaged.
    """
    root = storage.normalize(root)
    if not is_name(name):
        return _at(storage.normalize(name), parameter)
    registry = Registry(root, config)
    if version := _registered(registry, name):
        return NamedModel(load_manifest(version.train), version)
    if name not in (CHAMPION, PREVIOUS):
        try:
            run = find_run(root, name)
        except ConfigurationError:
            pass
        else:
            return _at(run, parameter)
    raise ConfigurationError(f"{parameter}: there is no model {name!r}.", f"{_existing(root, registry)} {ADVICE}")


def find_baseline(root: str, name: str, config: TrainingConfig) -> str:
    """Return the URI of the attempt that the parameter `baseline` of a training run names; see `find_model`."""
    return find_model(root, name, config, "baseline").train.uri


def _registered(registry: Registry, name: str) -> Version | None:
    if name == CHAMPION:
        return registry.champion()
    if name == PREVIOUS:
        return registry.previous()
    if not name.isdecimal():
        return None
    return next((version for version in registry.versions() if version.number == int(name)), None)


def _at(uri: str, parameter: str) -> NamedModel:
    """Return the model of an attempt folder or of a run folder."""
    trained = find_training(uri, parameter)
    record = None if uri == trained.uri else read_run_record(uri)
    # A promotion has the training of its candidate, which another run made.
    return NamedModel(trained, run=uri if record and record.flow == TRAINING else None)


def _existing(root: str, registry: Registry) -> str:
    """Return sentences that list the registered versions and the newest runs with a model."""
    try:
        versions = registry.versions()
        named = {CHAMPION: registry.champion(), PREVIOUS: registry.previous()}
    except StageError as error:  # the message is about another fault
        return f"The registry cannot be read: {error.message}"
    titles = [str(version.number) for version in versions]
    titles += [f"{alias} (version {version.number})" for alias, version in named.items() if version]
    registered = f"Registered versions of {registry.name}: {', '.join(titles) or 'none'}."
    runs = newest_runs(root, "train")
    return f"{registered} {known_runs(runs) if runs else 'No run has trained a model yet.'}"
