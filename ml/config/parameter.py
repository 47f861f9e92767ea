"""The parameters of a flow: their sections, titles, descriptions, bounds and defaults, and messages for bad values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.config import JsonDict
from pydantic_core import CoreSchema, core_schema

from ml.errors import ConfigurationError
from ml.flow.stage import Stage
from ml.redaction import NO_CREDENTIALS, has_credentials, redacted

NAME = r"[^/]+"  # of a model or a run, in parameters that may also hold a path or URI


def field(default: Any, section: str, title: str, description: str, **bounds: Any) -> Any:
    """Declare a parameter: its default, and what the form, the command line and the documentation show."""
    return Field(default, title=title, description=description, json_schema_extra={"section": section}, **bounds)


def place_field(default: Any, section: str, title: str, description: str, names: str = "", **bounds: Any) -> Any:
    """Declare a parameter that names a place: a path, a URI or an http(s) address (see `ml.config.roots`).

    Args:
        default: The default.
        section: The form's section.
        title: The form's title.
        description: What it means.
        names: A regular expression of values that name no place.
        **bounds: Bounds and examples, as for `field`.
    """
    # Airflow's form and API refuse credentials by the pattern before they store the parameter.
    extra: JsonDict = {"section": section, "place": names, "pattern": NO_CREDENTIALS}
    return Field(default, title=title, description=description, json_schema_extra=extra, **bounds)


def model_field(section: str, title: str, description: str) -> Any:
    """Declare a parameter that names a trained model; `ml.tracking.models` finds the model.

    Args:
        section: The form's section.
        title: The form's title.
        description: What the model is for, and what an empty value means.
    """
    ways = (
        "Name it as champion, previous, the number of a registered version, the id of a run, or by a path: its attempt "
        "folder of stage train, or its run folder."
    )
    examples = ["champion", "previous", "3", "/data/storage/stages/train/<key>/attempts/<attempt>"]
    return place_field(None, section, title, f"{description} {ways}", names=NAME, min_length=1, examples=examples)


def is_name(place: str) -> bool:
    """Return whether a value that may be a name or a place is a name: a place has a slash."""
    return re.fullmatch(NAME, place) is not None


def columns_field(section: str) -> Any:
    """Declare the parameter that names the columns of photographs in Parquet files."""
    return field(
        "ImageID,Subset,Data",
        section,
        "Columns of photographs",
        "For photographs in Parquet files: the columns of image id, subset and encoded photograph, with commas between "
        "them.",
        pattern=r"^[^,]+,[^,]+,[^,]+$",
        examples=["ImageID,Subset,Data", "id,split,jpeg"],
    )


def risk_field(section: str) -> Any:
    """Declare the parameter that states a tolerated error rate; `ml.metrics.promise` turns it into a confidence."""
    return field(
        None,
        section,
        "Tolerated error rate",
        "Predict 'unknown' wherever needed so that, with 95% confidence, at most this share of the other labels is "
        "wrong; the validation split gives the confidence that holds it. Empty: `min_confidence` decides.",
        ge=0.001,
        le=0.5,
        examples=[0.05, 0.02],
    )


def labels_in_order(labels: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return labels with their classes in alphabetical order of the labels.

    Raises:
        ValueError: A class is named twice.
    """
    classes = [name for names in labels.values() for name in names]
    if twice := sorted({name for name in classes if classes.count(name) > 1}):
        raise ValueError(f"must not name a class twice: {', '.join(twice)}")
    return {label: labels[label] for label in sorted(labels)}


@dataclass(frozen=True)
class OneOf:
    """Annotation for a string that must be one of several names, like `Literal`, but for names computed at import."""

    names: tuple[str, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        """Validate the value and describe it in the JSON schema as pydantic does for a `Literal`."""
        return core_schema.literal_schema(list(self.names))


class FlowConfig(BaseModel):
    """Base class of a flow's parameters. Every field has a section, a title, a description, bounds and a default."""

    # Without inputs in pydantic's own messages, which tracebacks show: a refused value may hold a password.
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True, hide_input_in_errors=True)

    def part(self, fields: tuple[str, ...]) -> dict[str, Any]:
        """Return the named fields as JSON values, for a stage's key."""
        return self.model_dump(mode="json", include=set(fields))

    def trainings(self) -> Sequence[FlowConfig]:
        """Return the configuration of each training of a sweep; of another flow, none."""
        return ()

    @field_validator("*")
    @classmethod
    def _check_credentials(cls, value: Any) -> Any:
        return without_credentials(value)


def without_credentials(value: Any) -> Any:
    """Return the value of a setting, unless it is a URI with credentials.

    Raises:
        ValueError: It is.
    """
    if isinstance(value, str) and has_credentials(value):
        raise ValueError("must not hold credentials or a query; use an Airflow connection or the environment")
    return value


def places(config: FlowConfig) -> dict[str, str]:
    """Return the places that a flow's parameters name; parameters that are empty are left out."""
    found = {}
    for name, field in type(config).model_fields.items():
        extra, value = field.json_schema_extra, getattr(config, name)
        if value and isinstance(extra, dict) and "place" in extra and not re.fullmatch(str(extra["place"]), value):
            found[name] = str(value)
    return found


F = TypeVar("F", bound=FlowConfig)


def check_fields(kind: type[FlowConfig], stages: Iterable[Stage]) -> None:
    """Check that the flow's configuration has every field that the table of stages names.

    A misspelled field would be missing from the stage's key, so that old work would count as done.

    Raises:
        ValueError: A field is missing; the message names the stage and the field.
    """
    for stage in stages:
        if unknown := stage.declared_fields - set(kind.model_fields):
            raise ValueError(f"Stage {stage.name} names {', '.join(sorted(unknown))}, which {kind.__name__} lacks.")


def validate(values: dict[str, Any], defaults: F) -> F:
    """Validate `values` on top of the defaults of a flow.

    Raises:
        ConfigurationError: A value is invalid. For each one, the message has name, value and what is allowed.
    """
    merged = {**defaults.model_dump(mode="json"), **values}
    try:
        return type(defaults)(**merged)
    except ValidationError as error:
        message = describe(error, type(defaults))
        raise ConfigurationError(message, "Correct the parameter and start the run again.") from error


def describe(error: ValidationError, kind: type[FlowConfig]) -> str:
    """Describe each invalid field in one sentence: its name, the value given and what is allowed."""
    sentences = []
    for fault in error.errors():
        name = str(fault["loc"][0]) if fault["loc"] else "parameters"
        if fault["type"] == "extra_forbidden":
            sentences.append(f"{name}: there is no such parameter (known: {', '.join(kind.model_fields)}).")
            continue
        text = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
        given = "" if not fault["loc"] else f" = {redacted(fault['input'])!r}"
        sentences.append(f"{name}{given}: {text}{_allowed(name, kind)}.")
    return " ".join(sentences)


def _allowed(name: str, kind: type[FlowConfig]) -> str:
    schema = kind.model_json_schema()["properties"].get(name, {})
    bounds = []
    for option in schema_options(schema):
        if "enum" in option:
            bounds.append("one of " + ", ".join(map(str, option["enum"])))
        low = option.get("minimum", option.get("exclusiveMinimum"))
        high = option.get("maximum")
        if low is not None:
            above = "more than" if "exclusiveMinimum" in option else "at least"
            bounds.append(f"{above} {low}" + (f" and at most {high}" if high is not None else ""))
        if option.get("type") == "null":
            bounds.append("empty")
    return f" (allowed: {' or '.join(bounds)})" if bounds else ""


def schema_options(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a field's JSON schema allows, one option per type; a constant becomes an enum of one."""
    options = schema.get("anyOf", [schema])
    return [{**option, "enum": [option["const"]]} if "const" in option else option for option in options]
