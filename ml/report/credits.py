"""Credits of pictures, and whether there are any to give."""

from __future__ import annotations

import urllib.parse
from collections.abc import Collection

from ml.flow.exploration import Credit

# RFC 2606 reserves this domain, so no published photograph has a page there. The drawn release of `ml.sample` does.
NOWHERE = ".invalid"


def are_drawn(credits: Collection[Credit]) -> bool:
    """Return whether the pictures are the drawings of `python -m ml sample-release` and not photographs."""
    hosts = [urllib.parse.urlsplit(credit.landing_url or "").hostname or "" for credit in credits]
    return bool(hosts) and all(host.endswith(NOWHERE) for host in hosts)
