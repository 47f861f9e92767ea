"""A trained network as a model in MLflow."""

from __future__ import annotations

import json
import os
import re
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
    """Record a network as an MLflow model of flavor `keras`, which `mlflow.pyfunc` can also load.

    Its signature is uint8 chips, shape (-1, chip_size, chip_size, 3), to float32 probabilities, shape (-1, 2). It
    replaces models in the same MLflow run, which an attempt left that was killed before its commit.

    Args:
        client: MLflow's client.
        experiment: Id of the experiment.
        run_id: Id of the training's MLflow run.
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
        name=re.sub(r"[.:]", "-", description.network),  # which MLflow's names may not hold
        source_run_id=run_id,
        params={name: as_text(value) for name, value in values.items() if name != "validation"},
        tags={"attempt": attempt},
        model_type="keras",
    )
    with tempfile.TemporaryDirectory() as folder:
        # Without this list MLflow would load the model in another process to find its requirements.
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
    """Return a parameter's value as text for MLflow."""
    return value if isinstance(value, str) else json.dumps(value)
