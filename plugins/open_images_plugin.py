"""The plugin that adds the project's pages to Airflow: the tab 'Report' of runs, the pages 'Models' and 'Try it'."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from open_images.addresses import URL_PREFIX
from open_images.timetable import FromNowTimetable
from open_images.web import LazyApp

# No leading slash, so that the URLs also work if Airflow is served under a path.
STATIC = f"{URL_PREFIX.removeprefix('/')}/static"


def icons(name: str) -> dict[str, str]:
    """Return the icons of a page for the light and the dark theme."""
    return {"icon": f"{STATIC}/{name}.svg", "icon_dark_mode": f"{STATIC}/{name}-dark.svg"}


class OpenImagesPlugin(AirflowPlugin):
    """The routes, pages and timetable of `open_images`."""

    name = "open_images"
    timetables = [FromNowTimetable]
    fastapi_apps = [{"name": "Open Images", "app": LazyApp(), "url_prefix": URL_PREFIX}]
    # React apps, because the sandboxed frame of an external view cannot link to other pages. Airflow takes the
    # component from the global variable with the app's name.
    react_apps = [
        {
            "name": "Report",
            "bundle_url": f"{STATIC}/report.js",
            "destination": "dag_run",
            "url_route": "report",
            **icons("report"),
        },
        {
            "name": "Models",
            "bundle_url": f"{STATIC}/models.js",
            "destination": "nav",
            "url_route": "models",
            "nav_top_level": True,
            **icons("models"),
        },
        {
            "name": "Try it",
            "bundle_url": f"{STATIC}/try-it.js",
            "destination": "nav",
            "url_route": "try-it",
            "nav_top_level": True,
            **icons("try-it"),
        },
    ]
