"""The project's part of Airflow's pages: data and artifacts of runs behind Airflow's own login, and what shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


class LazyApp:
    """The routes, as an ASGI app that is made at its first request.

    Every component of Airflow loads the plugins, each task too; only the API server needs the second that FastAPI and
    Airflow's models take to import.
    """

    def __init__(self) -> None:
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if self._app is None:
            from open_images.web.app import create_app

            self._app = create_app()
        await self._app(scope, receive, send)
