"""The record of stage train, and the rows of the training's history.

The record is in this package and not in `ml.training`, because everything that opens a model reads it without needing
the training code.
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
        val_accuracy: Accuracy on the validation split.
        seconds: Duration of the epoch, including validation.
        images_per_second: Number of faces trained on per second.
    """

    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float
    images_per_second: float


class TrainingProgress(Record):
    """How far a training has come.

    Attributes:
        epochs: Number of epochs of the whole training; it may stop before.
        history: One row for each complete epoch.
        step: Completed steps of the current epoch.
        steps: Number of steps of an epoch.
        images_per_second: Training faces per second at present; 0 before the first step.
        seconds_left: Estimate of the time to the last epoch; None before there is one.
        ended: Whether no epoch will follow: they are all done, or patience has run out.
        written: The present moment, ISO format in UTC.
    """

    epochs: int
    history: list[EpochRow] = []
    step: int = 0
    steps: int = 0
    images_per_second: float = 0.0
    seconds_left: float | None = None
    ended: bool = False
    written: str = ""

    @property
    def epoch(self) -> int:
        """The current epoch, from 1; once the epochs have ended, the last one."""
        return len(self.history) if self.ended else min(len(self.history) + 1, self.epochs)

    @property
    def summary(self) -> str:
        """Speed, time left and the newest validation scores, for one line of text."""
        if self.ended:
            parts = ["the model is being calibrated and written"]
        else:
            parts = [f"{self.images_per_second:,.0f} images/s"] if self.images_per_second else []
            if self.seconds_left is not None:
                parts.append(time_left(self.seconds_left))
        if self.history:
            parts.append(f"validation accuracy {self.history[-1].val_accuracy:.3f}")
        return ", ".join(parts) or "preparing the first step"


def time_left(seconds: float) -> str:
    """Format the time that is left in its largest unit."""
    if seconds < 90:
        return f"about {seconds:.0f} s left"
    return f"about {seconds / 60:.0f} min left" if seconds < 90 * 60 else f"about {seconds / 3600:.1f} h left"


class ValidationScores(Record):
    """Scores of the calibrated model on the validation split.

    Attributes:
        loss: Mean log loss.
        accuracy: Accuracy at the model's threshold; None if an older attempt did not measure it.
        faces: Number of faces in the split.
        majority: Share of the larger label, which is the accuracy of always predicting it.
    """

    loss: float
    accuracy: float | None = None
    faces: int
    majority: float


class FittedValue(Record):
    """A temperature or threshold that was fitted on the validation split; `ml.metrics.choice` has the rules.

    Attributes:
        fitted: The fitted value.
        chosen: The value that the model uses: the fitted one if `gain` is more than `noise`. A threshold is the fitted
            one in any case if the split is not small.
        gain: Of a temperature, how much lower the log loss of held-out validation faces is, in nats per face; of a
            threshold, by how much the recalls of the labels differ at 0.5.
        noise: How large `gain` may be by chance.
    """

    fitted: float
    chosen: float
    gain: float
    noise: float

    @property
    def is_fitted(self) -> bool:
        """Whether the model uses the fitted value."""
        return self.chosen == self.fitted


class MlflowRun(Record):
    """Where MLflow recorded a training.

    Attributes:
        run_id: The MLflow run.
        experiment_id: The experiment that holds it.
        model_id: The logged model; None if MLflow did not accept it.
        tracking_uri: The tracking server or database.
        unrecorded: Names of what MLflow did not accept.
    """

    run_id: str
    experiment_id: str
    model_id: str | None
    tracking_uri: str
    unrecorded: list[str] = []


class ModelLabels(Record):
    """The part of the record that every version of stage train wrote, enough to open a model.

    Attributes:
        labels: The labels in the order of the network's outputs.
    """

    labels: list[str]


class Exclusion(Record):
    """What became of the faces that a run excludes.

    Attributes:
        excluded: Training faces that the network does not see, by label.
        kept: Faces of the validation and test splits. They stay, because removing faces that a model contradicts would
            make the next model look better and surer than it is.
        unknown: Ids that are in no split.
    """

    excluded: dict[str, int]
    kept: int
    unknown: int

    @property
    def faces(self) -> int:
        """The number of excluded faces."""
        return sum(self.excluded.values())


class TrainingRecord(ModelLabels):
    """The record that stage train writes to its manifest.

    Attributes:
        network: The network's name in `ml.networks.table.NETWORKS`.
        parameters: Number of the network's parameters.
        best_epoch: The epoch, from 1, whose weights were kept.
        epochs: Number of epochs trained.
        validation: The model's scores on the validation split.
        temperature: Divisor of the logits, built into the network.
        threshold: The second label is predicted where its probability is at least this.
        images_per_second: Median over the epochs.
        seconds: Sum over the epochs.
        history: URI of `history.json`.
        curves: URI of the plot of the history.
        model: URI of the `.keras` file.
        mlflow: Where MLflow recorded the training.
        exclusion: What the parameter `exclude_faces` left out; None without it.
        temperature_choice: How the temperature was chosen; None in attempts of older versions.
        threshold_choice: How the threshold was chosen; likewise.
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
    exclusion: Exclusion | None = None
    temperature_choice: FittedValue | None = None
    threshold_choice: FittedValue | None = None
