"""Open a training run: validate its parameters, look at its deliveries, write its folder."""

from __future__ import annotations

import datetime
from typing import Any

from ml import storage
from ml.config.parameter import validate
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError, DataError
from ml.release.delivery import combined, identify
from ml.release.landing import find_deliveries, midnight
from ml.release.miap import check_miap
from ml.release.photographs import open_photographs
from ml.release.release import check_classes, read_classes
from ml.workflow import layout
from ml.workflow.manifest import Manifest, load_manifest
from ml.workflow.run import Run, slug

PLAIN = TrainingConfig()


def open_run(
    root: str,
    run_id: str,
    values: dict[str, Any],
    as_of: datetime.datetime | None = None,
    since: datetime.datetime | None = None,
    defaults: TrainingConfig = PLAIN,
) -> Run:
    """Validate the parameters, look at the deliveries, and write the run folder.

    Opening a run again starts it afresh: what it had pinned is forgotten, what was done is found by its keys.

    Args:
        root: The storage root.
        run_id: The run's id.
        values: Parameters, on top of the defaults.
        as_of: The moment, with its time zone, before which deliveries must be dated to be seen: the end of the data
            interval of a scheduled run. By default the end of the day of parameter `as_of`, or now.
        since: The start of that interval: a delivery must have come in it, unless `retrain_without_news` is set.
        defaults: The deployment's; without them, the program's own.

    Raises:
        ConfigurationError: A parameter is wrong or a class is unknown.
        DataError: The release is absent or not as it must be, or no delivery is dated before `as_of`.
        NothingNewError: No delivery is dated from `since` on.
    """
    config = validate(values, defaults)
    root = storage.normalize(root)
    if as_of is None:
        as_of = (
            midnight(config.as_of + datetime.timedelta(days=1)) if config.as_of else datetime.datetime.now(datetime.UTC)
        )
    config = _resolved(config)
    photographs = config.photographs
    found = find_deliveries(config.release, photographs, as_of, None if config.retrain_without_news else since)
    for release in found.values():
        check_classes(config, read_classes(release))
        check_miap(config, release)
    deliveries = tuple(identify(name, release, layout.delivery_cache(root)) for name, release in found.items())
    sources = {
        "tables": combined([delivery.tables for delivery in deliveries]),
        "photographs": combined([delivery.photographs for delivery in deliveries]),
        # Which delivery's photograph is cut is only a question where there are several.
        "listings": combined([delivery.listing for delivery in deliveries]) if len(deliveries) > 1 else "",
    }
    told = as_of.astimezone(datetime.UTC).isoformat()
    run = Run(root, slug(run_id), run_id, config, sources, told, deliveries)
    run.write()
    return run


def _resolved(config: TrainingConfig) -> TrainingConfig:
    """The configuration with absolute places, as the jobs may run in another folder; what they need must be there."""
    told: dict[str, Any] = {"release": storage.normalize(config.release)}
    if config.photographs:
        told["photographs"] = storage.normalize(config.photographs)
        if not open_photographs(told["photographs"]).exists():
            raise ConfigurationError(
                f"photographs: there is no folder {told['photographs']}.", "Correct the parameter, or leave it empty."
            )
    if config.network.startswith("transfer:") and config.backbone_weights not in ("imagenet", "none"):
        told["backbone_weights"] = storage.normalize(config.backbone_weights)
        if not storage.exists(told["backbone_weights"]):
            raise ConfigurationError(
                f"backbone_weights: there is no file {told['backbone_weights']}.", "Correct the parameter."
            )
    if config.baseline:
        told["baseline"] = find_baseline(config.baseline).uri
    return config.model_copy(update=told)


def find_baseline(uri: str) -> Manifest:
    """The attempt of stage train that the parameter `baseline` names.

    Raises:
        ConfigurationError: There is none.
    """
    uri = storage.normalize(uri)
    advice = "Name an attempt folder of stage train, or leave it empty."
    try:
        attempt = load_manifest(uri)
    except DataError as error:
        raise ConfigurationError(f"baseline: {uri} is no attempt that was committed.", advice) from error
    if attempt.stage != "train":
        raise ConfigurationError(f"baseline: {uri} is an attempt of stage {attempt.stage}.", advice)
    return attempt
