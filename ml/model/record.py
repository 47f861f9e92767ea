"""What stage train states about the model it trained, and the rows of the training's history.

The record lies beside the model and not in `ml.training`, because everything that opens a model reads it, and nothing
of the training is needed for that.
"""

from __future__ import annotations

from ml.flow.record import Record


class EpochRow(Record):
    """One epoch of a training.

    Attributes:
        epoch: From 1.
        loss: Mean training loss.
        accuracy: Mean training accuracy.
        val_loss: Loss on the validation split.
        val_accuracy: Accuracy there.
        seconds: Time that the epoch took, its validation included.
        images_per_second: Faces learned from a second.
    """

    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float
    images_per_second: float


class ValidationScores(Record):
    """What the calibrated model reaches on the validation split.

    Attributes:
        loss: Mean log loss.
        accuracy: At the model's threshold; None where an older attempt did not measure it.
        faces: Number of faces in the split.
        majority: Share of the larger label, which is the accuracy of always guessing it.
    """

    loss: float
    accuracy: float | None = None
    faces: int
    majority: float


class MlflowRun(Record):
    """Where MLflow recorded a training.

    Attributes:
        run_id: The MLflow run.
        experiment_id: The experiment that holds it.
        model_id: The logged model; None where MLflow did not take it.
        tracking_uri: The tracking server or database.
        unrecorded: What MLflow never took, by name.
    """

    run_id: str
    experiment_id: str
    model_id: str | None
    tracking_uri: str
    unrecorded: list[str] = []


class ModelLabels(Record):
    """What every version of stage train states, and a model is opened by.

    Attributes:
        labels: In the order of the network's outputs.
    """

    labels: list[str]


class TrainingRecord(ModelLabels):
    """What stage train states in its manifest.

    Attributes:
        network: Its name in `ml.networks.table.NETWORKS`.
        parameters: Number of its parameters.
        best_epoch: The epoch, from 1, whose weights were kept.
        epochs: Number of epochs trained.
        validation: What the model reaches on the validation split.
        temperature: By which the logits were divided; the network has it inside.
        threshold: Probability from which the second label is given.
        images_per_second: Median over the epochs.
        seconds: Sum over the epochs.
        history: URI of `history.json`.
        curves: URI of the plot of the history.
        model: URI of the `.keras` file.
        mlflow: Where MLflow recorded the training.
    """

    network: str
    parameters: int
    best_epoch: int
    epochs: int
    validation: ValidationScores
    temperature: float
    threshold: float
    images_per_second: float
    seconds: float
    history: str
    curves: str
    model: str
    mlflow: MlflowRun
