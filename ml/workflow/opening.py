"""Open a training run: validate its parameters, find its deliveries and write its folder."""

from __future__ import annotations

import dataclasses
import datetime
import logging
from collections.abc import Callable
from typing import Any

from ml import storage
from ml.config.parameter import is_name
from ml.config.roots import Roots, validate_below
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError
from ml.flow.code import is_code, missing
from ml.photographs.opening import open_photographs
from ml.photographs.source import Columns
from ml.release.delivery import Delivery, combined, identify, versions
from ml.release.landing import find_deliveries, midnight
from ml.release.miap import check_miap
from ml.release.release import check_classes, read_classes
from ml.workflow import layout
from ml.workflow.exclusions import read_excluded
from ml.workflow.find import find_training
from ml.workflow.reference import NO_REFERENCE, Reference, write_reference
from ml.workflow.run import Run, slug

log = logging.getLogger(__name__)
PLAIN = TrainingConfig()
FindReference = Callable[[Run], Reference | None]
FindBaseline = Callable[[str, str, TrainingConfig], str]


def without_reference(run: Run) -> None:
    """Find no reference: the data of the run are not compared with those of an earlier one."""


def baseline_at(root: str, uri: str, config: TrainingConfig) -> str:
    """Return the URI of the attempt of stage train at a place, the only baselines that are found by default.

    Raises:
        ConfigurationError: There is none, or the value is a name, which only the registry and `find_run` know.
    """
    if is_name(uri):
        raise ConfigurationError(f"baseline: {uri} is no path.", "Name an attempt folder of stage train.")
    return find_training(uri, "baseline").uri


def open_run(
    root: str,
    run_id: str,
    values: dict[str, Any],
    as_of: datetime.datetime | None = None,
    since: datetime.datetime | None = None,
    defaults: TrainingConfig = PLAIN,
    find_reference: FindReference = without_reference,
    roots: Roots | None = None,
    find_baseline: FindBaseline = baseline_at,
) -> Run:
    """Validate the parameters, find the deliveries and write the run folder.

    Opening a run again removes its pins. Work that is already done is found again by its keys.

    Args:
        root: The storage root.
        run_id: The run's id.
        values: Parameters that override the defaults.
        as_of: Use deliveries dated before this time (with time zone): for a scheduled run, the end of its data
            interval. By default, the end of the day of parameter `as_of`, or now.
        since: The start of that interval. At least one delivery must be dated in it, unless `retrain_without_news` is
            set.
        defaults: The deployment's defaults; by default, the program's.
        find_reference: Finds the earlier run that the data are compared with. It is called only here, so that a retry
            of a stage compares with the same one.
        roots: The places that parameters may name; None: any.
        find_baseline: Returns the attempt that the parameter `baseline` names, given the storage root, the name and the
            configuration; by default, the name must be a path.

    Raises:
        ConfigurationError: A parameter is invalid or not below the roots, a class is unknown, or the storage root has
            a forbidden character.
        DataError: The release is missing or malformed, or no delivery is dated before `as_of`.
        NothingNewError: No delivery is dated `since` or later.
    """
    config = validate_below(values, defaults, roots)
    run, reference = prepare_run(root, run_id, config, as_of, since, find_reference, find_baseline)
    run.write()
    write_reference(run.uri, reference)
    return run


def prepare_run(
    root: str,
    run_id: str,
    config: TrainingConfig,
    as_of: datetime.datetime | None = None,
    since: datetime.datetime | None = None,
    find_reference: FindReference = without_reference,
    find_baseline: FindBaseline = baseline_at,
) -> tuple[Run, Reference | None]:
    """Return a run that is not written yet, and its reference; arguments and errors are those of `open_run`."""
    root = storage.normalize(root)
    storage.check_root(root)
    if as_of is None:
        as_of = (
            midnight(config.as_of + datetime.timedelta(days=1)) if config.as_of else datetime.datetime.now(datetime.UTC)
        )
    config = resolved(root, config, find_baseline)
    photographs = config.photographs
    columns = Columns.parse(config.photograph_columns)
    news_since = None if config.retrain_without_news else since
    found = find_deliveries(config.release, photographs, as_of, news_since, columns)
    for release in found.values():
        check_classes(config, read_classes(release.classes))
        check_miap(config, release)
    deliveries = tuple(identify(name, release, layout.delivery_cache(root)) for name, release in found.items())
    log.info("%s: Open Images %s", config.release, versions(deliveries))
    sources = _sources(deliveries)
    run = Run(root, slug(run_id), run_id, config, sources, as_of.astimezone(datetime.UTC).isoformat(), deliveries)
    reference = find_reference(run)
    sources["reference"] = reference.id if reference else NO_REFERENCE
    return dataclasses.replace(run, sources=sources), reference


def _sources(deliveries: tuple[Delivery, ...]) -> dict[str, str]:
    """Return the digests of what the deliveries hold."""
    return {
        "tables": combined([delivery.tables for delivery in deliveries]),
        "photographs": combined([delivery.photographs for delivery in deliveries]),
        # The listings decide which delivery's photograph is used, so they matter only with several deliveries.
        "listings": combined([delivery.listing for delivery in deliveries]) if len(deliveries) > 1 else "",
    }


def resolved(root: str, config: TrainingConfig, find_baseline: FindBaseline = baseline_at) -> TrainingConfig:
    """Return the configuration with absolute URIs, because jobs may run in another folder.

    Raises:
        ConfigurationError: The photographs, the weights, the baseline or the code of the network that it names do not
            exist, or its list of excluded faces cannot be read.
    """
    values: dict[str, Any] = {"release": storage.normalize(config.release)}
    if config.photographs:
        values["photographs"] = storage.normalize(config.photographs)
        if not open_photographs(values["photographs"], Columns.parse(config.photograph_columns)).exists():
            raise ConfigurationError(
                f"photographs: there is nothing at {values['photographs']}.",
                "Correct the parameter, or leave it empty.",
            )
    if config.network.startswith("transfer:") and config.backbone_weights not in ("imagenet", "none"):
        values["backbone_weights"] = storage.normalize(config.backbone_weights)
        if not storage.exists(values["backbone_weights"]):
            raise ConfigurationError(
                f"backbone_weights: there is no file {values['backbone_weights']}.", "Correct the parameter."
            )
    if is_code(config.network) and (what := missing(config.network)):
        raise ConfigurationError(
            f"network = {config.network!r}: {what}.",
            "Put its package onto the PYTHONPATH of every Airflow component and shell; see docs/own-network.md.",
        )
    if config.exclude_faces:
        values["exclude_faces"] = storage.normalize(config.exclude_faces)
        read_excluded(values["exclude_faces"])
    if config.baseline:
        values["baseline"] = find_baseline(root, config.baseline, config)
    return config.model_copy(update=values)
