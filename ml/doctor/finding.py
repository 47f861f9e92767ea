"""The result of a check of the machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict

State = Literal["ok", "warning", "fault"]
SECONDS = 60.0  # time limit of a check


class Finding(BaseModel):
    """The result of one check.

    Attributes:
        check: The check's name.
        state: ok, warning (most things work) or fault (a run cannot succeed, or its result cannot be relied on).
        found: The observation.
        advice: What to do; empty if the state is ok.
    """

    model_config = ConfigDict(frozen=True)

    check: str
    state: State
    found: str
    advice: str = ""


Answer = tuple[State, str, str]  # state, observation and advice
Check = Callable[[], Answer]
