"""The landing flow: emit an event for each complete delivery of annotations and photographs."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Metadata, task

from ml.config.deployment import load_deployment
from open_images.assets import LANDING, list_events
from open_images.defaults import dag_defaults
from open_images.errors import airflow_errors

if TYPE_CHECKING:
    from airflow.sdk.execution_time.context import InletEventsAccessors

DOC = """
### Announce new deliveries

Checks the deployment's `release` if it is a landing: a folder that holds one folder `<YYYY-MM-DD>` per delivery. Each
delivery that has a `delivery.json`, which is written last, and has not been announced yet emits an event of the asset
`open_images_landing` with its date, digests and counts. `open_images_training` is scheduled on that asset. A folder
without `delivery.json` is incomplete and is ignored. An invalid delivery fails its task until it is fixed; after six
failed runs in a row the DAG pauses itself.
"""

deployment = load_deployment()
with DAG(
    "open_images_landing",
    description="Announces each new delivery of annotations and photographs",
    doc_md=DOC,
    schedule=deployment.landing_schedule,
    start_date=datetime.datetime(2016, 1, 1, tzinfo=datetime.UTC),
    max_active_runs=1,
    max_consecutive_failed_dag_runs=6,  # then it pauses itself and stops reporting the same fault
    tags=["open-images", "landing"],
    **dag_defaults(deployment, notify_success=False),
) as dag:

    @task(inlets=[LANDING])
    def look(inlet_events: InletEventsAccessors) -> list[str]:
        """List the complete deliveries that no event has announced yet."""
        from ml.release.landing import news

        with airflow_errors():
            events = list_events(LANDING, inlet_events[LANDING])
            announced = {(event.extra.get("date"), event.extra.get("digest")) for event in events}
            return news(load_deployment().defaults.release, announced, datetime.datetime.now(datetime.UTC))

    @task(outlets=[LANDING], map_index_template="{{ task.op_kwargs['delivery'] }}")
    def announce(delivery: str) -> Iterator[Metadata]:
        """Check and count a delivery, and emit its event."""
        from ml.photographs.source import Columns
        from ml.release.landing import announcement
        from ml.workflow.layout import delivery_cache

        with airflow_errors():
            today = load_deployment()
            defaults, cache = today.defaults, delivery_cache(today.storage)
            columns = Columns.parse(defaults.photograph_columns)
            extra: dict[str, Any] = announcement(defaults.release, delivery, defaults.photographs, cache, columns)
        yield Metadata(LANDING, extra)

    announce.expand(delivery=look())
