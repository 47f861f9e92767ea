"""A stage: what it is called, what it reads, how it runs, what it leaves, and the key under which its output lies."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ml import storage
from ml.storage import file_digest, modified

Engine = Literal["spark", "process"]


class Config(Protocol):
    """What a key needs of a flow's configuration."""

    def part(self, fields: tuple[str, ...]) -> dict[str, Any]:
        """Return the named fields as JSON values."""


@dataclass(frozen=True)
class Page:
    """A page that a stage writes for people.

    Attributes:
        name: The page's name in addresses and records.
        file: Its path in the attempt.
        title: What a link to it says.
    """

    name: str
    file: str
    title: str


@dataclass(frozen=True)
class Ledger:
    """What a stage's ledger counts.

    Attributes:
        title: What the rows add up to; `{chip_class}` stands for the class whose boxes are cut out.
        kept: The row that goes on to the next stage.
    """

    title: str
    kept: str


@dataclass(frozen=True)
class Stage:
    """One step of a flow: a row of the table of stages.

    Attributes:
        name: The stage's name. Its task, its command and, on Spark, the file of its job are called the same.
        version: Raised by hand whenever the same input gives another output.
        fields: The fields of the flow's configuration that shape the output. They are part of the key.
        engine: `spark`: a job of `spark_jobs`. `process`: a Python process of its own.
        timeout: Hours that its task may take unless the deployment says otherwise: enough for all of Open Images.
        purpose: What it does, as one sentence: the help of its command.
        leaves: What it leaves in storage, for the table in the DAG's description.
        pushes: What its task pushes to XCom, likewise.
        body: Where the function of a process stage is: `module:name`.
        inputs: The stages whose output it reads. Their keys are part of the key.
        reads: Other stages whose manifests it reads. They come before one of `inputs`, so that what shaped the output
            came in by these; they are not part of the key.
        sources: What it reads that no stage made: `tables` and `photographs` of the release, a `model`. For a stage
            done by delivery: what it reads of one, such as the `faces` that join_labels asks of it.
        by_delivery: The work is done, kept and found again for each delivery by itself.
        files: Those of `fields` that may name a file, whose content is part of the key too.
        unkeyed: Fields that it reads although they do not shape the output; the row says why.
        only_with: The field without which the stage has nothing to do; its task is skipped.
        pages: The pages it writes. The first one is its report, which the task links to.
        ledger: What its ledger counts, for a stage that keeps or drops faces.
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
    unkeyed: tuple[str, ...] = ()
    only_with: str | None = None
    pages: tuple[Page, ...] = ()
    ledger: Ledger | None = None

    @property
    def declared_fields(self) -> set[str]:
        """Every field of the configuration that the row names."""
        return {*self.fields, *self.files, *self.unkeyed, *([self.only_with] if self.only_with else [])}

    def key(self, config: Config, inputs: Mapping[str, str], sources: Mapping[str, str]) -> str:
        """Return the digest under which the stage's output lies.

        Args:
            config: The run's configuration, of which only `fields` count.
            inputs: The key of each input stage.
            sources: The digest of each source of the release.
        """
        files = {name: digest for name, uri in config.part(self.files).items() if (digest := _content_digest(uri))}
        return self._digest(
            config=config.part(self.fields),
            inputs={name: inputs[name] for name in self.inputs},
            sources={name: sources[name] for name in self.sources},
            **({"files": files} if files else {}),
        )

    def part_key(self, config: Config, sources: Mapping[str, str]) -> str:
        """Return the digest under which the work for one delivery lies: only that delivery's own sources count.

        Args:
            config: The run's configuration.
            sources: The digest of each source of the delivery.
        """
        return self._digest(config=config.part(self.fields), sources={name: sources[name] for name in self.sources})

    def collected_key(self, part_keys: Mapping[str, str]) -> str:
        """Return the digest under which a run's work for all its deliveries together lies."""
        return self._digest(parts=dict(part_keys))

    def _digest(self, **parts: Mapping[str, Any]) -> str:
        content = {"stage": self.name, "version": self.version, **parts}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _content_digest(uri: str) -> str:
    """Return the SHA-256 of a file, computed again once its size or time differs; empty where there is no such file."""
    try:
        fs, path = storage.filesystem(uri)
        info = fs.info(path)
    except (FileNotFoundError, ValueError):  # ValueError: a scheme that fsspec does not know
        return ""
    return _sha256(uri, info["size"], modified(info)) if info["type"] == "file" else ""


@functools.lru_cache
def _sha256(uri: str, size: int, time: str) -> str:
    return file_digest(uri)
