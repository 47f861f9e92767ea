"""The assets through which the DAGs trigger each other. The extras of an event carry its details."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING

from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowRuntimeError

from ml.errors import TransientError

if TYPE_CHECKING:
    from airflow.sdk.execution_time.comms import AssetEventResult

# An evaluated model. Extras: see `event_extra` in `operators/stage.py`.
CANDIDATE = Asset("open_images_candidate", uri="x-open-images://candidate")
# The model that predictions use. Extras: the new champion, the previous one, and who decided.
CHAMPION = Asset("open_images_champion", uri="x-open-images://champion")
# A delivery of annotations and photographs in the landing folder.
LANDING = Asset("open_images_landing", uri="x-open-images://landing")


def list_events(asset: Asset, events: Sequence[AssetEventResult]) -> list[AssetEventResult]:
    """Read the events of an asset from Airflow.

    Args:
        asset: The asset, for the message.
        events: What Airflow passes as `inlet_events[asset]`, possibly limited to a time.

    Raises:
        TransientError: Airflow cannot list them. Up to 3.3 it lists none if one of the runs that they triggered has no
            start time (https://github.com/apache/airflow/issues/71360).
    """
    try:
        return list(events)
    except AirflowRuntimeError as error:
        message = f"Airflow could not list the events of the asset {asset.name} ({error})."
        if (error.error.detail or {}).get("status_code") != HTTPStatus.INTERNAL_SERVER_ERROR:
            raise TransientError(message, "The log of Airflow's API server may say why.") from error
        raise TransientError(
            f"{message} It lists none while a run that one of them triggered has no start time: a run that is queued, "
            "or was marked as failed while it was.",
            "Let that run start, or delete it.",
        ) from error
