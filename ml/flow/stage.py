"""A stage: what it is called, what it reads, and the key under which its output lies."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ml import storage
from ml.config.parameter import FlowConfig
from ml.storage import file_digest, modified


@dataclass(frozen=True)
class Stage:
    """One step of the flow and what its output depends on.

    Attributes:
        name: The stage's name.
        version: Raised by hand whenever the same input gives another output.
        fields: The fields of the flow's configuration that the stage reads.
        inputs: The stages whose output it reads.
        sources: What it reads that no stage made: `tables` and `photographs` of the release, a `model`; of a stage done
            by delivery, what it reads of one, among that the `faces` asked of it by join_labels.
        by_delivery: Its work is done, kept and found again for each delivery by itself.
        files: Those of `fields` that may name a file, whose content counts then too.
        reads: Inputs of its inputs whose manifests it reads too; its key depends on them by way of its inputs.
    """

    name: str
    version: int
    fields: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    by_delivery: bool = False
    files: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()

    def key(self, config: FlowConfig, inputs: Mapping[str, str], sources: Mapping[str, str]) -> str:
        """The digest under which the stage's output lies.

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

    def part_key(self, config: FlowConfig, sources: Mapping[str, str]) -> str:
        """The digest under which what is done for one delivery lies: only that delivery's own sources count.

        Args:
            config: The run's configuration.
            sources: The digest of each source of the delivery.
        """
        return self._digest(config=config.part(self.fields), sources={name: sources[name] for name in self.sources})

    def collected_key(self, part_keys: Mapping[str, str]) -> str:
        """The digest under which lies what a run has of all its deliveries together."""
        return self._digest(parts=dict(part_keys))

    def _digest(self, **parts: Mapping[str, Any]) -> str:
        content = {"stage": self.name, "version": self.version, **parts}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _content_digest(uri: str) -> str:
    """The SHA-256 of a file, computed anew once its size or time is another; empty where there is no such file."""
    try:
        fs, path = storage.filesystem(uri)
        info = fs.info(path)
    except (FileNotFoundError, ValueError):  # ValueError: of a scheme that fsspec does not know
        return ""
    return _sha256(uri, info["size"], modified(info)) if info["type"] == "file" else ""


@functools.lru_cache
def _sha256(uri: str, size: int, time: str) -> str:
    return file_digest(uri)
