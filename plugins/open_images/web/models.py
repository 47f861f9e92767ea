"""What the registry knows of champion and candidates, by the names that the pages have for models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ml.config.deployment import Deployment
from ml.tracking.registry import Registry
from ml.workflow.layout import attempt_name
from open_images.web.report import about


def registered_models(deployment: Deployment, shown: Callable[[str], bool]) -> dict[str, Any]:
    """The registered versions of the deployment's chip class, newest first, and which of them is champion.

    Args:
        deployment: Where the registry is, and the class.
        shown: Whether Airflow knows the promotion of that id, and not only a shell.

    Returns:
        `about`, what the labels are (None where they are not about people); `champion` and `previous`, names of models
        or None; `versions`, each with `number`, `model`, `as_of`, `accuracy`, `decision`, `decided` and `compared`: the
        promotion that has compared it, None where none did.
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
