"""The security headers of all responses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# For data and everything else: the browser runs and loads nothing, and no other site may frame it.
NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
# For self-contained pages. The sandbox gives them a separate origin: a script in them would not run and could not call
# Airflow's API on the reader's behalf. Links to photographs' pages still open.
REPORT = f"{NOTHING}; sandbox allow-popups allow-popups-to-escape-sandbox; img-src data:; style-src 'unsafe-inline'"


class SecurityHeaders:
    """Adds the headers to every response that does not set them, including errors."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def send_(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Content-Security-Policy", NOTHING)
                headers.setdefault("X-Content-Type-Options", "nosniff")
                headers.setdefault("Referrer-Policy", "no-referrer")
                headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
                # Revalidate each time: permissions can change, and so can the attempts that a run pins.
                headers.setdefault("Cache-Control", "private, no-cache")
            await send(message)

        await self._app(scope, receive, send_)
