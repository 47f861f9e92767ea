"""The landing: an event for each delivery of annotations and photographs that has arrived whole."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Metadata, task

from ml.config.deployment import load_deployment
from open_images.assets import LANDING
from open_images.defaults import dag_defaults
from open_images.errors import airflow_errors

if TYPE_CHECKING:
    from airflow.sdk.execution_time.context import InletEventsAccessors

DOC = """
### Deliveries that have arrived

Looks at the deployment's `release`, where that is a landing: a folder of deliveries in folders `<YYYY-MM-DD>`. Each
that holds a `delivery.json`, which is written last, and was not announced yet gives an event of the asset
`open_images_landing`, with its date, digests and counts; `open_images_training` is scheduled on it. A folder without
that file is not there yet and is left alone. One that is not as it must be fails its task until it is mended; after six
such looks the DAG pauses itself.
"""

deployment = load_deployment()
with DAG(
    "open_images_landing",
    description="Announces each new delivery of annotations and photographs",
    doc_md=DOC,
    schedule=deployment.landing_schedule,
    start_date=datetime.datetime(2016, 1, 1, tzinfo=datetime.UTC),
    max_active_runs=1,
    max_consecutive_failed_dag_runs=6,  # then it pauses itself, in place of telling of the same fault all day
    tags=["open-images", "landing"],
    **dag_defaults(deployment, tell_success=False),
) as dag:

    @task(inlets=[LANDING])
    def look(inlet_events: InletEventsAccessors) -> list[str]:
        """List the deliveries that are there and were not announced; the events so far tell which were."""
        from ml.release.landing import news

        announced = {(event.extra.get("date"), event.extra.get("digest")) for event in inlet_events[LANDING]}
        with airflow_errors():
            return news(load_deployment().defaults.release, announced, datetime.datetime.now(datetime.UTC))

    @task(outlets=[LANDING], map_index_template="{{ task.op_kwargs['delivery'] }}")
    def announce(delivery: str) -> Iterator[Metadata]:
        """Check and count a delivery, and emit its event."""
        from ml.release.landing import announcement
        from ml.workflow.layout import delivery_cache

        with airflow_errors():
            today = load_deployment()
            defaults, cache = today.defaults, delivery_cache(today.storage)
            extra: dict[str, Any] = announcement(defaults.release, delivery, defaults.photographs, cache)
        yield Metadata(LANDING, extra)

    announce.expand(delivery=look())
