"""The champion and the candidates from the registry, in the form that the pages show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ml.config.deployment import Deployment
from ml.tracking.registry import Registry
from ml.workflow.layout import attempt_name
from open_images.web.report import about


def registered_models(deployment: Deployment, shown: Callable[[str], bool]) -> dict[str, Any]:
    """Return the registered versions for the deployment's chip class, newest first, and the champion.

    Args:
        deployment: Names the storage root and the class.
        shown: Whether Airflow has a promotion run with that id; a run from a shell has no page to link to.

    Returns:
        `about`, what the labels are (None if they are not about people); `champion` and `previous`, names of models
        or None; `versions`, each with `number`, `model`, `as_of`, `accuracy`, `decision`, `decided` and `compared`: the
        id of the promotion that compared it, or None.
    """
    registry = Registry(deployment.storage, deployment.defaults)
    champion, previous = registry.champion(), registry.previous()
    return {
        "about": about(deployment.defaults.chip_class, deployment.defaults.labels),
        "champion": attempt_name(champion.train) if champion else None,
        "previous": attempt_name(previous.train) if previous else None,
        "versions": [
            {"model": attempt_name(version.train)}
            | version.model_dump(include={"number", "as_of", "accuracy", "decision", "decided"})
            | {"compared": version.compared if version.compared and shown(version.compared) else None}
            for version in reversed(registry.versions())
        ],
    }
