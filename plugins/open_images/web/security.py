"""What every answer of the routes says to the browser about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Data, and anything unforeseen: nothing in it is run, loaded or framed by another site.
NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
# A page that holds all it shows. In its sandbox it has an origin of its own: were there a script in it after all, it
# would not run, and could not ask Airflow's API in the reader's name. Its links to photographs' pages open.
REPORT = f"{NOTHING}; sandbox allow-popups allow-popups-to-escape-sandbox; img-src data:; style-src 'unsafe-inline'"


class SecurityHeaders:
    """Sets the headers of every answer that has none of its own, those of failures too."""

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
                # Asked again each time: who may see a run can change, and so can the attempts that it pins.
                headers.setdefault("Cache-Control", "private, no-cache")
            await send(message)

        await self._app(scope, receive, send_)
