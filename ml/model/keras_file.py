"""A network as a `.keras` file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import keras

from ml import storage

MODEL = "model.keras"


def network_bytes(network: keras.Model) -> bytes:
    """Return a network as a `.keras` file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, MODEL)
        network.save(path)
        return path.read_bytes()


def load_network(uri: str) -> keras.Model:
    """Read a `.keras` file from any storage, without its optimizer; Keras' safe mode runs no code in it."""
    with storage.local_copy(uri) as path:
        return keras.models.load_model(path, compile=False, safe_mode=True)
