"""The items that a clean-up may remove: runs, attempts, checkpoints, leases, marks and old plans."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ml import storage
from ml.workflow import layout
from ml.workflow.supervision import lives

Kind = Literal["run", "attempt", "checkpoints", "lease", "mark", "plan"]


class Item(BaseModel):
    """A folder or a file to remove.

    Attributes:
        kind: The kind of item.
        uri: The folder, with everything in it, or the file.
        reason: Why it can be removed.
        files: Number of files.
        bytes: Total size of the files.
        modified: Time of the last change, in seconds since 1970.
    """

    model_config = ConfigDict(frozen=True)

    kind: Kind
    uri: str
    reason: str
    files: int
    bytes: int
    modified: float


def summarize(items: list[Item]) -> str:
    """Summarize items in one line: their number by kind, and their total size."""
    counts = Counter(item.kind for item in items)
    if not counts:
        return "nothing"
    parts = [f"{count} {kind if kind == 'checkpoints' or count == 1 else f'{kind}s'}" for kind, count in counts.items()]
    return f"{', '.join(parts)} ({sum(item.bytes for item in items) / 1e6:.1f} MB)"


@dataclass
class Group:
    """The files of an attempt, of a run's checkpoints, or of any other folder."""

    uri: str
    files: dict[str, storage.Stat] = field(default_factory=dict)

    @property
    def modified(self) -> float:
        """Time of the last change, in seconds since 1970, ignoring the mark that a clean-up writes."""
        return max((stat.modified for path, stat in self.files.items() if path != layout.REMOVAL), default=0.0)

    @property
    def committed(self) -> bool:
        return layout.MANIFEST in self.files

    @property
    def claim(self) -> dict[str, str]:
        """The writer of the attempt: `run`, its folder's name, and `job`, its process. Empty if there is no claim."""
        try:
            return dict(storage.read_json(layout.claim_uri(self.uri)))
        except FileNotFoundError:
            return {}

    @property
    def in_work(self) -> bool:
        """Whether a process on this host is still writing the attempt; a failed one has left an `error.json`."""
        return not self.committed and layout.ERROR not in self.files and lives(self.claim.get("job", ""))

    def item(self, kind: Kind, reason: str) -> Item:
        size = sum(stat.bytes for stat in self.files.values())
        return Item(kind=kind, uri=self.uri, reason=reason, files=len(self.files), bytes=size, modified=self.modified)
