"""What a check of the machine finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict

State = Literal["ok", "warning", "fault"]
SECONDS = 60.0  # any check is given up after so long


class Finding(BaseModel):
    """What one check has found.

    Attributes:
        check: The check's name.
        state: ok; a warning, with which much works; or a fault, with which a run cannot succeed.
        found: What was found.
        advice: What to do; empty where all is well.
    """

    model_config = ConfigDict(frozen=True)

    check: str
    state: State
    found: str
    advice: str = ""


Answer = tuple[State, str, str]  # what a check hands back: state, what was found, advice
Check = Callable[[], Answer]
