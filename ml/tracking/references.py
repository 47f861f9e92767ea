"""The attempts that MLflow's runs and registered models refer to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ml.tracking import experiments
from ml.workflow.layout import attempt_ids

if TYPE_CHECKING:
    from mlflow.store.entities import PagedList

T = TypeVar("T")
EXPERIMENTS = "name LIKE 'open-images-%'"


def mlflow_attempts(root: str) -> tuple[set[str], set[str]]:
    """Return the attempts named in the tags of MLflow's runs, and those that registered models come from.

    A run that was deleted in MLflow's pages does not count unless a registered model comes from it.

    Raises:
        ConfigurationError: No tracking server is named where one is needed, or its database is from another version.
        TransientError: The tracking server fails.
        ResourceError: The local database cannot be used.
    """
    uri = experiments.tracking_uri(root)
    if uri.startswith(experiments.SQLITE) and not Path(uri.removeprefix(experiments.SQLITE)).exists():
        return set(), set()  # no training has run here yet
    try:
        return _search(uri)
    except Exception as error:  # from MLflow, the database or the network
        raise experiments.refusal(uri, error) from error


def _search(uri: str) -> tuple[set[str], set[str]]:
    client = experiments.connect(uri)
    from mlflow.entities import ViewType

    found = list(_pages(client.search_experiments, view_type=ViewType.ALL, filter_string=EXPERIMENTS))
    of_runs: dict[str, set[str]] = {}
    active: set[str] = set()
    if found:
        ids = [experiment.experiment_id for experiment in found]
        for run in _pages(client.search_runs, experiment_ids=ids, run_view_type=ViewType.ALL, max_results=1000):
            of_runs[run.info.run_id] = _attempts(run.data.tags)
            if run.info.lifecycle_stage == "active":
                active |= of_runs[run.info.run_id]
    registered: set[str] = set()
    for version in _pages(client.search_model_versions):
        registered |= _attempts(version.tags) | of_runs.get(version.run_id or "", set())
    return active, registered


def _pages(search: Callable[..., PagedList[T]], **arguments: object) -> Iterator[T]:
    """Yield all results of one of MLflow's searches, page by page."""
    page = search(**arguments)
    yield from page
    while page.token:
        page = search(**arguments, page_token=page.token)
        yield from page


def _attempts(tags: Mapping[str, str]) -> set[str]:
    """Return the attempts that the tags of an MLflow run or of a registered version name."""
    return attempt_ids(tags.get(name) for name in ("attempt", "evaluation", "train", "evaluate"))
