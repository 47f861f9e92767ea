"""Checkpoints from which a killed training resumes, in a folder that outlives the attempt."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ml import storage
from ml.errors import ProvenanceError
from ml.flow.record import Record
from ml.model.record import EpochRow
from ml.training.averaging import WeightAverage

log = logging.getLogger(__name__)
STATE = "state.json"
OPTIMIZER = "optimiser"  # the group's name in the files; existing checkpoints have this spelling
Arrays = list[NDArray[Any]]


class Position(Record):
    """How far a training has progressed.

    Attributes:
        history: One row for each complete epoch.
        step: Completed steps of the current epoch.
        loss: Mean training loss over those steps.
        accuracy: Mean training accuracy over those steps.
        seconds: Duration of those steps.
    """

    history: list[EpochRow] = []
    step: int = 0
    loss: float = 0.0
    accuracy: float = 0.0
    seconds: float = 0.0


class State(Record):
    """The state in `state.json`: the position, the file with its arrays, and the digests of all its files."""

    position: Position
    training: str
    files: dict[str, str]


@dataclass
class Saved:
    """The arrays of a checkpoint: the network's weights, the optimizer's variables and the averaged weights."""

    weights: Arrays = field(default_factory=list)
    optimizer: Arrays = field(default_factory=list)
    average: Arrays = field(default_factory=list)


def best_epoch(history: list[EpochRow]) -> int:
    """Return the epoch, from 1, with the lowest validation loss; the earliest if several are equal."""
    return min(history, key=lambda row: row.val_loss).epoch


class Checkpoints:
    """The training's state and the best epoch's weights.

    Each file gets a new name. Then `state.json` is written, which names the files that belong together and their
    digests. Whenever the process is killed, the state is therefore complete. The files hold arrays because a `.keras`
    file lacks some of an optimizer's settings; the network is rebuilt from the configuration.

    Args:
        uri: The folder; only a retry of the same run reads it.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._digests: dict[str, str] = {}

    def save(self, position: Position, network: keras.Model, average: WeightAverage | None) -> None:
        """Save weights, optimizer and average at a position."""
        name = f"training-{len(position.history):04d}-{position.step:06d}.npz"
        variables = [variable.numpy() for variable in network.optimizer.variables]
        self._write(name, Saved(network.get_weights(), variables, average.weights if average else []))
        kept = {name}
        if position.history:
            kept.add(_best(position.history))
        self._digests = {file: digest for file, digest in self._digests.items() if file in kept}
        state = State(position=position, training=name, files=self._digests).json_values()
        storage.write_json(storage.join(self._uri, STATE), {"state": state, "sha256": _digest(state)})
        for file in storage.list_files(self._uri):
            if file.endswith(".npz") and file not in kept:
                storage.remove(storage.join(self._uri, file))

    def save_best(self, history: list[EpochRow], network: keras.Model) -> None:
        """Save the network's weights as the best of `history`; they take effect with the next `save`."""
        self._write(_best(history), Saved(network.get_weights()))

    def resume(self) -> tuple[Position, Saved] | None:
        """Return the position to resume from, and its arrays for `restore`; None if training starts over."""
        uri = storage.join(self._uri, STATE)
        if not storage.exists(uri):
            return None
        try:
            content = storage.read_json(uri)
            if content["sha256"] != _digest(content["state"]):
                raise ValueError("its digest differs")
            state = State.model_validate(content["state"])
            files = {name: storage.read_bytes(storage.join(self._uri, name)) for name in state.files}
            if damaged := [n for n, data in files.items() if hashlib.sha256(data).hexdigest() != state.files[n]]:
                raise ValueError(f"{', '.join(damaged)} changed")
            saved = _unpack(files[state.training])
        except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
            log.warning("checkpoints at %s are damaged (%s): training starts over", self._uri, error)
            return None
        self._digests = state.files
        return state.position, saved

    def load_best(self, history: list[EpochRow], network: keras.Model) -> None:
        """Load the weights of the best epoch into the network.

        Raises:
            ProvenanceError: The file has changed since the training wrote it.
        """
        name = _best(history)
        content = storage.read_bytes(storage.join(self._uri, name))
        if hashlib.sha256(content).hexdigest() != self._digests[name]:
            raise ProvenanceError(
                f"{name} in {self._uri} has changed since the training wrote it.",
                "Remove the folder and clear the task.",
            )
        network.set_weights(_unpack(content).weights)

    def _write(self, name: str, saved: Saved) -> None:
        buffer = io.BytesIO()
        groups = {"weights": saved.weights, OPTIMIZER: saved.optimizer, "average": saved.average}
        named = {
            f"{group}/{number:04d}": array for group, arrays in groups.items() for number, array in enumerate(arrays)
        }
        np.savez(buffer, **named)  # type: ignore[arg-type]
        content = buffer.getvalue()
        storage.write_bytes(storage.join(self._uri, name), content)
        self._digests[name] = hashlib.sha256(content).hexdigest()


def restore(network: keras.Model, average: WeightAverage | None, saved: Saved) -> None:
    """Load a checkpoint into a compiled network and its average."""
    network.set_weights(saved.weights)
    network.optimizer.build(network.trainable_variables)
    for variable, value in zip(network.optimizer.variables, saved.optimizer, strict=True):
        variable.assign(value)
    if average:
        average.weights = saved.average


def _best(history: list[EpochRow]) -> str:
    return f"best-{best_epoch(history):04d}.npz"


def _unpack(content: bytes) -> Saved:
    saved = Saved()
    groups = {"weights": saved.weights, OPTIMIZER: saved.optimizer, "average": saved.average}
    with np.load(io.BytesIO(content)) as arrays:
        for name in sorted(arrays.files):
            groups[name.partition("/")[0]].append(arrays[name])
    return saved


def _digest(state: object) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
