"""Registers the project's pages with Airflow: the tab 'Report' of a run, and 'Models' in the navigation."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from open_images.addresses import URL_PREFIX
from open_images.web import LazyApp

# Without the leading slash, so that they are found where Airflow is served below a path.
STATIC = f"{URL_PREFIX.removeprefix('/')}/static"


class OpenImagesPlugin(AirflowPlugin):
    """What `open_images` adds to Airflow's pages."""

    name = "open_images"
    fastapi_apps = [{"name": "Open Images", "app": LazyApp(), "url_prefix": URL_PREFIX}]
    # A React app can link to other pages, which the sandboxed frame of an external view cannot. Airflow takes the
    # component from the global variable of the app's name.
    react_apps = [
        {
            "name": "Report",
            "bundle_url": f"{STATIC}/report.js",
            "destination": "dag_run",
            "url_route": "report",
        },
        {
            "name": "Models",
            "bundle_url": f"{STATIC}/models.js",
            "destination": "nav",
            "url_route": "models",
            "nav_top_level": True,
        },
    ]
