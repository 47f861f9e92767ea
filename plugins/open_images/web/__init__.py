"""The project's pages in Airflow, and the routes that serve data and artifacts of runs behind Airflow's login."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


class LazyApp:
    """The routes, as an ASGI app that is created on the first request.

    Every component of Airflow, each task included, loads the plugins. Importing FastAPI and Airflow's models takes a
    second, and only the API server needs them.
    """

    def __init__(self) -> None:
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if self._app is None:
            from open_images.web.app import create_app

            self._app = create_app()
        await self._app(scope, receive, send)
