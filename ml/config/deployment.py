"""What a deployment sets once for all runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ml.config.clean_up import CleanUpConfig
from ml.config.parameter import FlowConfig, OneOf, describe
from ml.config.prediction import PredictionConfig
from ml.config.promotion import PromotionConfig
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError
from ml.flow.table import ALL_STAGES

DEPLOYMENT_VARIABLE = "OPEN_IMAGES_CONFIG"


class Deployment(BaseModel):
    """What a deployment sets once for all runs, read from the YAML file that `OPEN_IMAGES_CONFIG` names.

    The file's keys are those below, except `defaults`: the fields of `TrainingConfig` stand in the file directly. The
    values are the defaults that scheduled runs, Airflow's forms and the command line start from.

    Attributes:
        storage: The storage root.
        spark_conf: Settings of Spark.
        mlflow: Address of a tracking server, needed where the storage is not on this machine.
        training_schedule: When the training runs: a cron expression, UTC; empty: by deliveries and by hand only.
        landing_schedule: When the landing is looked at, likewise.
        notify: Who is told of a run's end. The id of an Airflow connection or an http(s) address, to which JSON is
            posted; or the dotted path of an Airflow notifier with its arguments.
        timeouts: Hours that Airflow gives the task of a stage, over those of the table of stages.
        defaults: Of the training flow.
        prediction: Of the prediction flow.
        promotion: Of the promotion flow.
        maintenance: Of the clean-up.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    storage: Annotated[str, Field(min_length=1)] = "/data/storage"
    spark_conf: dict[str, str] = {}
    mlflow: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None
    training_schedule: str | None = "0 0 1 * *"
    landing_schedule: str | None = "*/10 * * * *"
    notify: (
        Annotated[str, Field(pattern=r"^(https?://\S+|[\w.-]+)$")]
        | Annotated[dict[Annotated[str, Field(pattern=r"^\w+(\.\w+)+$")], dict[str, Any]], Field(min_length=1)]
        | None
    ) = None
    timeouts: dict[Annotated[str, OneOf(tuple(ALL_STAGES))], Annotated[float, Field(gt=0.0)]] = {}
    defaults: TrainingConfig = TrainingConfig()
    prediction: PredictionConfig = PredictionConfig()
    promotion: PromotionConfig = PromotionConfig()
    maintenance: CleanUpConfig = CleanUpConfig()

    def timeout(self, stage: str) -> float:
        """Return the hours that Airflow gives the task of a stage."""
        return self.timeouts.get(stage, ALL_STAGES[stage].timeout)

    @field_validator("spark_conf", mode="before")
    @classmethod
    def _as_properties(cls, value: Any) -> Any:
        """YAML's numbers and booleans as Spark's properties have them."""
        if not isinstance(value, dict):
            return value or {}
        return {str(key): str(v).lower() if isinstance(v, bool) else str(v) for key, v in value.items()}

    @model_validator(mode="after")
    def _check_grace(self) -> Self:
        longest = max(map(self.timeout, ALL_STAGES))
        if self.maintenance.grace_hours <= longest:
            raise ValueError(f"maintenance.grace_hours must be more than the longest of timeouts, {longest:g}")
        return self


def load_deployment() -> Deployment:
    """Read the deployment's settings. Entry points call this and hand on what they read; nothing else does.

    Raises:
        ConfigurationError: The file cannot be read, is no mapping, or holds a wrong value.
    """
    named = os.environ.get(DEPLOYMENT_VARIABLE)
    if not named:
        return Deployment()
    try:
        content = yaml.safe_load(Path(named).read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(
            f"{DEPLOYMENT_VARIABLE} names {named}, which cannot be read: {error}",
            "Correct the variable or the file.",
        ) from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{named} must hold `name: value` lines.", "See docs/deployment.md.")
    flows: dict[str, type[FlowConfig]] = {
        "prediction": PredictionConfig,
        "promotion": PromotionConfig,
        "maintenance": CleanUpConfig,
    }
    own = {
        name: content.pop(name)
        for name in Deployment.model_fields
        if name in content and name not in (*flows, "defaults")
    }
    kind: type[FlowConfig] = TrainingConfig
    try:
        for name, kind in flows.items():
            own[name] = kind.model_validate(content.pop(name, None) or {})
        kind = TrainingConfig
        return Deployment(**own, defaults=TrainingConfig(**content))
    except ValidationError as error:
        raise ConfigurationError(f"{named}: {describe(error, kind)}", "Correct the file.") from error
