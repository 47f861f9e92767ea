"""The champion and the candidates from the registry, in the form that the pages show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ml.config.deployment import Deployment
from ml.tracking.registry import Registry
from ml.workflow.layout import attempt_name
from open_images.web.history import decisions
from open_images.web.report import about


def registered_models(deployment: Deployment, shown: Callable[[str], bool]) -> dict[str, Any]:
    """Return the registered versions for the deployment's chip class, newest first, and the champion.

    Args:
        deployment: Names the storage root and the class.
        shown: Whether Airflow has a promotion run with that id; a run from a shell has no page to link to.

    Returns:
        `about`, what the labels are (None if they are not about people); `champion` and `previous`, names of models
        or None; `versions`, each with `number`, `model`, `as_of`, `accuracy`, `decision`, `decided`, `compared` (the id
        of the promotion that compared it last, or None) and `decisions`: those of all promotions, newest first, each
        with the id of its run, or None.
    """
    registry = Registry(deployment.storage, deployment.defaults)
    champion, previous = registry.champion(), registry.previous()
    made = [each for each in decisions(deployment.storage) if each["model"] == registry.name]
    return {
        "about": about(deployment.defaults.chip_class, deployment.defaults.labels),
        "champion": attempt_name(champion.train) if champion else None,
        "previous": attempt_name(previous.train) if previous else None,
        "versions": [
            {"model": attempt_name(version.train)}
            | version.model_dump(include={"number", "as_of", "accuracy", "decision", "decided"})
            | {"compared": version.compared if version.compared and shown(version.compared) else None}
            | {"decisions": [_linked(each, shown) for each in reversed(made) if each["number"] == version.number]}
            for version in reversed(registry.versions())
        ],
    }


def _linked(made: dict[str, Any], shown: Callable[[str], bool]) -> dict[str, Any]:
    """Return a decision without what its version says anyway, and without its run if that has no page."""
    kept = {name: made[name] for name in ("decision", "how", "at", "compared")}
    return {**kept, "run_id": made["run_id"] if shown(made["run_id"]) else None}
