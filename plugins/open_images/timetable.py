"""The timetable of the flows that run once for each interval: monthly trainings, regular downloads."""

from __future__ import annotations

import datetime

from airflow.sdk.timezone import utcnow
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable

# A run that was due so lately is made up for: Airflow may have been down for a moment when it was due.
GRACE = datetime.timedelta(hours=1)
NAMES = {
    "0 * * * *": "hourly",
    "0 0 * * *": "daily",
    "0 0 * * 0": "weekly",
    "0 0 1 * *": "monthly",
    "0 0 1 */3 *": "quarterly",
    "0 0 1 1 *": "yearly",
}


class FromNowTimetable(CronDataIntervalTimetable):
    """Data intervals by a cron expression, beginning with the one in which the DAG is unpaused.

    Airflow's own timetable begins with the interval before it, at once: with *Unpause on trigger*, which the trigger
    form ticks, a first run by hand would start a second run in the same second. From the second interval on, and for
    backfills, the two are the same. `plugins/open_images_plugin.py` registers it.
    """

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """Return when the next run is due, and its interval."""
        info = super().next_dagrun_info(
            last_automated_data_interval=last_automated_data_interval, restriction=restriction
        )
        if info is None or last_automated_data_interval is not None or restriction.catchup:
            return info
        if utcnow() - info.run_after <= GRACE:
            return info
        start = info.run_after
        if restriction.latest is not None and start > restriction.latest:
            return None
        return DagRunInfo.interval(start, self._get_next(start))


def schedule_name(cron: str) -> str:
    """Return a word for a cron expression, such as `monthly`, or else the expression itself."""
    return NAMES.get(cron, cron).removeprefix("@")
