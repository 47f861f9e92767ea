"""Make the record of stage train and rows of its history."""

from __future__ import annotations

from ml.model.record import EpochRow, MlflowRun, TrainingRecord, ValidationScores

NO_TRACKING = "file:///dev/null/mlflow"
# A database that is not there: that an evaluation cannot be recorded is a warning.
NOT_LOGGED = MlflowRun(run_id="none", experiment_id="0", model_id=None, tracking_uri=NO_TRACKING)


def make_epoch(epoch: int, **values: float) -> EpochRow:
    """Make a row of a history."""
    plain = {"loss": 0.7, "accuracy": 0.6, "val_loss": 0.6, "val_accuracy": 0.7, "seconds": 2.0}
    return EpochRow.model_validate({"epoch": epoch, **plain, "images_per_second": 100.0, **values})


def make_record(uri: str, mlflow: MlflowRun = NOT_LOGGED) -> TrainingRecord:
    """Make the record of a training whose attempt is at `uri`."""
    return TrainingRecord(
        labels=["female", "male"],
        network="compact",
        parameters=8,
        best_epoch=2,
        epochs=3,
        validation=ValidationScores(loss=0.5, accuracy=0.75, faces=24, majority=0.5),
        temperature=1.0,
        threshold=0.5,
        images_per_second=100.0,
        seconds=6.0,
        history=f"{uri}/history.json",
        curves=f"{uri}/curves.svg",
        model=f"{uri}/model.keras",
        mlflow=mlflow,
    )
