"""What a clean-up may remove: attempts, runs, checkpoints, marks and old plans."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ml import storage
from ml.workflow import layout
from ml.workflow.supervision import lives

Kind = Literal["run", "attempt", "checkpoints", "mark", "plan"]


class Item(BaseModel):
    """What is to go: a folder, or one file.

    Attributes:
        kind: What it is.
        uri: The folder or file, with all below it.
        reason: Why it may go.
        files: Number of files.
        bytes: Their size.
        modified: When one of them was last written, in seconds since 1970.
    """

    model_config = ConfigDict(frozen=True)

    kind: Kind
    uri: str
    reason: str
    files: int
    bytes: int
    modified: float


def told(items: list[Item]) -> str:
    """Items by kind, with their size, as one line."""
    counts = Counter(item.kind for item in items)
    if not counts:
        return "nothing"
    parts = [f"{count} {kind if kind == 'checkpoints' or count == 1 else f'{kind}s'}" for kind, count in counts.items()]
    return f"{', '.join(parts)} ({sum(item.bytes for item in items) / 1e6:.1f} MB)"


@dataclass
class Group:
    """The files of an attempt, of a run's checkpoints, or of all else below one folder."""

    uri: str
    files: dict[str, storage.Stat] = field(default_factory=dict)

    @property
    def modified(self) -> float:
        """When it was last written, but for the mark, which is maintenance's own."""
        return max((stat.modified for path, stat in self.files.items() if path != layout.REMOVAL), default=0.0)

    @property
    def committed(self) -> bool:
        return layout.MANIFEST in self.files

    @property
    def claim(self) -> dict[str, str]:
        """Who writes the attempt: `run`, its folder's name, and `job`, a process. Empty where no claim is left."""
        try:
            return dict(storage.read_json(layout.claim_uri(self.uri)))
        except FileNotFoundError:
            return {}

    @property
    def in_work(self) -> bool:
        """Whether a process of this host still writes the attempt; one that failed has said so."""
        return not self.committed and layout.ERROR not in self.files and lives(self.claim.get("job", ""))

    def item(self, kind: Kind, reason: str) -> Item:
        size = sum(stat.bytes for stat in self.files.values())
        return Item(kind=kind, uri=self.uri, reason=reason, files=len(self.files), bytes=size, modified=self.modified)
