"""The settings that a deployment makes once for all runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ml.config.clean_up import CleanUpConfig
from ml.config.download import DownloadConfig
from ml.config.parameter import FlowConfig, OneOf, describe, places, without_credentials
from ml.config.prediction import PredictionConfig
from ml.config.promotion import PromotionConfig
from ml.config.roots import Roots
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError
from ml.flow.code import NAME
from ml.flow.table import ALL_STAGES
from ml.redaction import is_secret

DEPLOYMENT_VARIABLE = "OPEN_IMAGES_CONFIG"


class Deployment(BaseModel):
    """The settings for all runs, read from the YAML file that `OPEN_IMAGES_CONFIG` names.

    The file has the keys below, except `defaults`: the fields of `TrainingConfig` are top-level keys of the file. The
    values are the defaults for scheduled runs, Airflow's forms and the command line.

    Attributes:
        storage: The storage root.
        roots: Paths, URIs and http(s) addresses below which the places in parameters from Airflow must be, besides
            those that this file names anyway (see `allowed`).
        networks: Functions, as `package.module:function`, that runs from Airflow may name as their `network`, besides
            the one in the defaults. They are code that this deployment trusts.
        spark_conf: Spark properties, without secrets.
        object_store_connection: The Airflow connection (type aws) with the keys and the endpoint of the object store.
            None: botocore looks for keys where it always does.
        mlflow: Address of a tracking server, required when the storage root is not on this machine.
        training_schedule: Cron expression (UTC) of the training flow. Empty: only deliveries and people start it.
        landing_schedule: Cron expression (UTC) of the check for new deliveries.
        sweep_trainings: Number of trainings of a sweep that run at the same time.
        ingest_schedule: Cron expression (UTC) of the downloads, each of which adds a delivery to the landing. Empty:
            only people start them.
        notify: Where to report the end of a run: the id of an Airflow connection or an http(s) address to post JSON
            to, or the dotted path of an Airflow notifier with its arguments.
        timeouts: Hours allowed for a stage's task. They override the table of stages.
        pod_templates: Path of the pod template for a stage's task where Airflow runs tasks in pods of Kubernetes. The
            scheduler reads the file. Other tasks use the executor's own template.
        defaults: Defaults of the training flow.
        prediction: Defaults of the prediction flow.
        promotion: Defaults of the promotion flow.
        maintenance: Defaults of the clean-up.
        download: Defaults of the downloads.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    storage: Annotated[str, Field(min_length=1)] = "/data/storage"
    roots: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    networks: tuple[Annotated[str, Field(pattern=f"^{NAME}$")], ...] = ()
    spark_conf: dict[str, str] = {}
    object_store_connection: Annotated[str, Field(pattern=r"^[\w.-]+$")] | None = None
    mlflow: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None
    training_schedule: str | None = "0 0 1 * *"
    sweep_trainings: Annotated[int, Field(ge=1, le=64)] = 1
    landing_schedule: str | None = "*/10 * * * *"
    ingest_schedule: str | None = None
    notify: (
        Annotated[str, Field(pattern=r"^(https?://\S+|[\w.-]+)$")]
        | Annotated[dict[Annotated[str, Field(pattern=r"^\w+(\.\w+)+$")], dict[str, Any]], Field(min_length=1)]
        | None
    ) = None
    timeouts: dict[Annotated[str, OneOf(tuple(ALL_STAGES))], Annotated[float, Field(gt=0.0)]] = {}
    pod_templates: dict[Annotated[str, OneOf(tuple(ALL_STAGES))], Annotated[str, Field(pattern="^/.")]] = {}
    defaults: TrainingConfig = TrainingConfig()
    prediction: PredictionConfig = PredictionConfig()
    promotion: PromotionConfig = PromotionConfig()
    maintenance: CleanUpConfig = CleanUpConfig()
    download: DownloadConfig = DownloadConfig()

    def timeout(self, stage: str) -> float:
        """Return the hours that Airflow allows a stage's task."""
        return self.timeouts.get(stage, ALL_STAGES[stage].timeout)

    def of(self, flow: type[FlowConfig]) -> FlowConfig:
        """Return the defaults of a flow, given the class of its parameters."""
        sections = (self.defaults, self.prediction, self.promotion, self.maintenance, self.download)
        return next(section for section in sections if type(section) is flow)

    def allowed(self) -> Roots:
        """Return what parameters from Airflow may name.

        Places are allowed below the storage root, below `roots` and as in the defaults; code as in `networks` and in
        the defaults.
        """
        flows = (self.defaults, self.prediction, self.promotion, self.download)
        named = [place for flow in flows for place in places(flow).values()]
        return Roots([self.storage, *self.roots, *named], [*self.networks, self.defaults.network])

    @field_validator("storage", "mlflow", "notify")
    @classmethod
    def _check_credentials(cls, value: Any) -> Any:
        if isinstance(value, dict):
            _refuse_secrets({name: each for arguments in value.values() for name, each in arguments.items()})
        return without_credentials(value)

    @field_validator("spark_conf")
    @classmethod
    def _check_secrets(cls, value: dict[str, str]) -> dict[str, str]:
        return _refuse_secrets(value)

    @field_validator("spark_conf", mode="before")
    @classmethod
    def _as_properties(cls, value: Any) -> Any:
        """Spell YAML's numbers and booleans as Spark properties do."""
        if not isinstance(value, dict):
            return value or {}
        return {str(key): str(v).lower() if isinstance(v, bool) else str(v) for key, v in value.items()}

    @model_validator(mode="after")
    def _check_grace(self) -> Self:
        longest = max(map(self.timeout, ALL_STAGES))
        if self.maintenance.grace_hours <= longest:
            raise ValueError(f"maintenance.grace_hours must be more than the longest timeout, {longest:g}")
        return self


def _refuse_secrets(settings: dict[str, Any]) -> dict[str, Any]:
    if found := [name for name, value in settings.items() if is_secret(name, value)]:
        raise ValueError(
            f"{', '.join(found)} must not be set here, where logs and pages show it; use an Airflow connection or the "
            "environment"
        )
    return settings


def load_deployment() -> Deployment:
    """Read the deployment's settings. Only entry points call this; they pass the result on.

    Raises:
        ConfigurationError: The file cannot be read, is not a mapping, or holds an invalid value.
    """
    path = os.environ.get(DEPLOYMENT_VARIABLE)
    if not path:
        return Deployment()
    try:
        content = yaml.safe_load(Path(path).read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(
            f"{DEPLOYMENT_VARIABLE} names {path}, which cannot be read: {error}",
            "Fix the variable or the file.",
        ) from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} must hold `name: value` lines.", "See docs/deployment.md.")
    flows: dict[str, type[FlowConfig]] = {
        "prediction": PredictionConfig,
        "promotion": PromotionConfig,
        "maintenance": CleanUpConfig,
        "download": DownloadConfig,
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
        raise ConfigurationError(f"{path}: {describe(error, kind)}", "Fix the file.") from error
