"""A stage: its name, what it reads and writes, how it runs, and the key of its output."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ml import storage
from ml.flow.code import code_digest, is_code
from ml.storage import file_digest, modified

Engine = Literal["spark", "process"]


class Config(Protocol):
    """The part of a flow's configuration that a key needs."""

    def part(self, fields: tuple[str, ...]) -> dict[str, Any]:
        """Return the named fields as JSON values."""

    def trainings(self) -> Sequence[Config]:
        """Return the configuration of each training of a sweep; of another flow, none."""


@dataclass(frozen=True)
class Page:
    """A page that a stage writes for readers.

    Attributes:
        name: The page's name in addresses and records.
        file: Its path in the attempt.
        title: The text of links to it.
    """

    name: str
    file: str
    title: str


@dataclass(frozen=True)
class Ledger:
    """The description of a stage's ledger.

    Attributes:
        title: What the rows add up to; `{chip_class}` stands for the class to chip.
        kept: The row that the next stage gets.
    """

    title: str
    kept: str


@dataclass(frozen=True)
class Stage:
    """One step of a flow: a row of the table of stages.

    Attributes:
        name: The stage's name, also used for its task, its command and, on Spark, the file of its job.
        version: Raised by hand whenever the same input leads to a different output.
        fields: The fields of the flow's configuration that affect the output. They are part of the key.
        engine: `spark` for a job in `spark_jobs`, `process` for a separate Python process.
        timeout: Hours allowed for its task, enough for all of Open Images. The deployment may override it.
        purpose: One sentence on what the stage does, the help of its command.
        leaves: The output it leaves in storage, for the table in the DAG's description.
        pushes: The values its task pushes to XCom, for the same table.
        body: The function of a process stage: `module:name`.
        inputs: The stages whose output it reads. Their keys are part of the key.
        reads: Other stages whose manifests it reads. They are not part of the key, because each is upstream of one of
            `inputs`, whose key covers it.
        sources: The digests of what it reads that no stage made: `tables` and `photographs` of the release, a `model`,
            the `reference` that a run's data are compared with. For a stage done by delivery, they are of one delivery
            and may include the `faces` that join_labels found.
        by_delivery: The work is done, kept and found again separately for each delivery.
        files: The fields among `fields` that may name a file. The file's content is part of the key.
        code: The fields among `fields` that may name a function of the user's own. The digest of its source is part of
            the key.
        compares: The stage whose outputs in other runs it compares: one for each of the configuration's `trainings`.
            Their keys are part of the key.
        unkeyed: Fields that it reads but that do not affect the output; the row says why.
        only_with: The field that the stage requires; its task is skipped if the field is empty.
        pages: The pages it writes. The first one is its report, which the task links to.
        ledger: The description of its ledger, for a stage that keeps or drops faces.
    """

    name: str
    version: int
    fields: tuple[str, ...]
    engine: Engine
    timeout: float
    purpose: str
    leaves: str = ""
    pushes: str = ""
    body: str = ""
    inputs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    by_delivery: bool = False
    files: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    compares: Stage | None = None
    unkeyed: tuple[str, ...] = ()
    only_with: str | None = None
    pages: tuple[Page, ...] = ()
    ledger: Ledger | None = None

    @property
    def declared_fields(self) -> set[str]:
        """Every field of the configuration that the row names."""
        return {*self.fields, *self.files, *self.code, *self.unkeyed, *([self.only_with] if self.only_with else [])}

    def key(self, config: Config, inputs: Mapping[str, str], sources: Mapping[str, str]) -> str:
        """Return the digest under which the stage's output is stored.

        Args:
            config: The run's configuration; only `fields` count.
            inputs: The key of each input stage.
            sources: The digest of each source of the release.
        """
        uris = {name: uri for name, uri in config.part(self.files).items() if uri}
        files = {name: digest for name, uri in uris.items() if (digest := _content_digest(uri))}
        code = {name: code_digest(value) for name, value in config.part(self.code).items() if is_code(value)}
        compared = [self.compares.key(each, inputs, sources) for each in config.trainings()] if self.compares else []
        return self._digest(
            config=config.part(self.fields),
            inputs={name: inputs[name] for name in self.inputs},
            sources={name: sources[name] for name in self.sources},
            **({"files": files} if files else {}),
            **({"code": code} if code else {}),
            **({"compared": compared} if compared else {}),
        )

    def part_key(self, config: Config, sources: Mapping[str, str]) -> str:
        """Return the digest under which the output for one delivery is stored; only that delivery's sources count.

        Args:
            config: The run's configuration.
            sources: The digest of each source of the delivery.
        """
        return self._digest(config=config.part(self.fields), sources={name: sources[name] for name in self.sources})

    def collected_key(self, part_keys: Mapping[str, str]) -> str:
        """Return the digest under which the collected output for all of a run's deliveries is stored."""
        return self._digest(parts=dict(part_keys))

    def _digest(self, **parts: Mapping[str, Any] | Sequence[str]) -> str:
        content = {"stage": self.name, "version": self.version, **parts}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _content_digest(uri: str) -> str:
    """Return the SHA-256 of a file, cached until its size or time changes; empty if there is no such file."""
    try:
        fs, path = storage.filesystem(uri)
        info = fs.info(path)
    except (FileNotFoundError, ValueError):  # ValueError: a scheme that fsspec does not know
        return ""
    return _sha256(uri, info["size"], modified(info)) if info["type"] == "file" else ""


@functools.lru_cache
def _sha256(uri: str, size: int, time: str) -> str:
    return file_digest(uri)
