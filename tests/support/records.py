"""Records that state whatever a test wants."""

from pydantic import ConfigDict

from ml.flow.record import Record


class Stated(Record):
    """A record of any fields."""

    model_config = ConfigDict(frozen=True, extra="allow")
