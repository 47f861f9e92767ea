"""A trained network as a model in MLflow."""

from __future__ import annotations

import json
import os
import tempfile
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras
    from mlflow import MlflowClient
    from pydantic import JsonValue

    from ml.model.description import Description

REQUIREMENTS = ("keras", "tensorflow", "numpy")


def log_model(
    client: MlflowClient, experiment: str, run_id: str, attempt: str, network: keras.Model, description: Description
) -> str:
    """Record a network as an MLflow model of flavor `keras`, which `mlflow.pyfunc` loads too.

    Its signature is uint8 chips, shape (-1, chip_size, chip_size, 3), to float32 probabilities, shape (-1, 2). Models
    that the same MLflow run holds already, those of an attempt that was killed before its commit, are removed.

    Args:
        client: MLflow's client.
        experiment: Id of the experiment.
        run_id: Of the training's MLflow run.
        attempt: URI of the training's attempt.
        network: The trained network.
        description: Its description, which becomes the model's parameters and metadata.

    Returns:
        The model's id.
    """
    import mlflow.keras
    import numpy as np
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    for earlier in client.search_logged_models([experiment], f"source_run_id = '{run_id}'"):
        client.delete_logged_model(earlier.model_id)
    side = description.chip_size
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, side, side, 3))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, len(description.labels)))]),
    )
    values = description.model_dump(mode="json")
    model = client.create_logged_model(
        experiment,
        name=description.network.replace(":", "-"),
        source_run_id=run_id,
        params={name: as_text(value) for name, value in values.items() if name != "validation"},
        tags={"attempt": attempt},
        model_type="keras",
    )
    with tempfile.TemporaryDirectory() as folder:
        # Without a list of requirements MLflow would load the model in another process to find them.
        mlflow.keras.save_model(
            network,
            os.path.join(folder, "model"),
            mlflow_model=Model(artifact_path=model.artifact_location, run_id=run_id, model_id=model.model_id),
            signature=signature,
            pip_requirements=[f"{package}=={version(package)}" for package in REQUIREMENTS],
            metadata={"attempt": attempt, **values},
        )
        client.log_model_artifacts(model.model_id, os.path.join(folder, "model"))
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=description.best_epoch)])
    return str(model.model_id)


def as_text(value: JsonValue) -> str:
    """Return a parameter's value as MLflow keeps it."""
    return value if isinstance(value, str) else json.dumps(value)
