"""Find a run or a model by what a person gives: a run's id, the name of its folder, or a path.

`ml.tracking.models` also knows the names of registered models.
"""

from __future__ import annotations

from ml import storage
from ml.config.parameter import is_name
from ml.errors import ConfigurationError, DataError
from ml.workflow import layout
from ml.workflow.folder import read_pin, read_run_record, survey_runs
from ml.workflow.manifest import Manifest, load_manifest
from ml.workflow.run import FLOWS, slug

LISTED = 10  # runs that a message names
ADVICE = (
    "Name champion, previous, the number of a registered version, the id of a run, or the path of an attempt folder of "
    "stage train or of a run folder."
)


def find_run(root: str, name: str) -> str:
    """Return the folder of the run that a name names.

    Args:
        root: The storage root.
        name: The run's id in Airflow or from the command line, the name of its folder, or the folder's path or URI. If
            runs of several flows have the id, the training is meant.

    Raises:
        ConfigurationError: There is no such run. The message lists the newest ones.
        DataError: The run's `run.json` is damaged.
    """
    root = storage.normalize(root)
    if not is_name(name):
        if read_run_record(uri := storage.normalize(name)):
            return uri
        raise ConfigurationError(f"There is no run at {uri}.", "Name a run by its id or its folder.")
    for folder in (name, *(slug(name, flow) for flow in FLOWS)):
        if read_run_record(uri := layout.run_uri(root, folder)):
            return uri
    raise ConfigurationError(f"There is no run {name!r} in {root}.", known_runs(newest_runs(root)))


def newest_runs(root: str, stage: str | None = None) -> list[str]:
    """Return the folders of runs, the one that changed last first.

    Args:
        root: The storage root.
        stage: Only runs that have done this stage; by default all.
    """
    found = {
        slug: max(stat.modified for stat in files.values())
        for slug, files in survey_runs(storage.normalize(root)).items()
        if layout.RUN_FILE in files and (stage is None or stage in map(layout.pin_name, files))
    }
    return [layout.run_uri(storage.normalize(root), name) for name in sorted(found, key=lambda each: -found[each])]


def known_runs(runs: list[str]) -> str:
    """Return a sentence that names the first of some runs by their ids, for a message."""
    if not runs:
        return "There are no runs yet."
    records = [record for run in runs[:LISTED] if (record := read_run_record(run))]
    more = f" and {len(runs) - LISTED} more" if len(runs) > LISTED else ""
    return f"The newest runs: {', '.join(record.run_id for record in records)}{more}."


def find_training(uri: str, parameter: str) -> Manifest:
    """Return the manifest of an attempt of stage train.

    Args:
        uri: Its folder, or the folder of a run that has trained a model.
        parameter: The parameter that names it, for messages.

    Raises:
        ConfigurationError: There is no such attempt, or it belongs to another stage.
    """
    uri = storage.normalize(uri)
    if layout.attempt_id(uri) is None and (record := read_run_record(uri)):
        if pin := read_pin(layout.pin_uri(uri, "train")):
            return load_manifest(pin.attempt)
        raise ConfigurationError(f"{parameter}: run {record.run_id} has trained no model.", ADVICE)
    try:
        manifest = load_manifest(uri)
    except DataError as error:
        raise ConfigurationError(f"{parameter}: {uri} is no run and no finished attempt.", ADVICE) from error
    if manifest.stage != "train":
        raise ConfigurationError(f"{parameter}: {uri} is an attempt of stage {manifest.stage}.", ADVICE)
    return manifest
