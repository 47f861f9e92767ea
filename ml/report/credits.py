"""Credits of pictures, and whether there are any to give."""

from __future__ import annotations

import urllib.parse
from collections.abc import Collection

from ml.flow.exploration import Credit
from ml.report.subject import Subject

# The host of the pages of `ml.sample`. RFC 2606 reserves its domain, so no published photograph has a page there.
DRAWN_HOST = "drawn.invalid"


def are_drawn(credits: Collection[Credit]) -> bool:
    """Return whether the pictures are the drawings of `python -m ml sample-release` and not photographs."""
    hosts = [urllib.parse.urlsplit(credit.landing_url or "").hostname or "" for credit in credits]
    return bool(hosts) and all(host == DRAWN_HOST for host in hosts)


def drawn_line(subject: Subject) -> str:
    """Say of a drawn release what its numbers are about."""
    if subject.cue:
        return (
            f"The demo's drawn release, not photographs: {subject.cue}, and it alone decides the label. The network "
            "learns to read badges; the numbers say nothing about photographs of people."
        )
    return "The demo's drawn release, not photographs: the numbers say nothing about photographs."
