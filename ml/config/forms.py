"""Turn a flow's configuration into Airflow's trigger form, command line options and the documentation's tables."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Collection
from typing import Annotated, Any

from ml.config.parameter import NAME, FlowConfig, schema_options

MANY_VALUES = 10  # a table abbreviates longer lists
EMPTY_CHOICE = {"null": "(none)"}  # how the form shows an empty choice, instead of as `null`
# What an option takes, by the type or format in the JSON schema.
OPTION_TYPES = {"date": "YYYY-MM-DD", "object": "JSON object", "array": "names, with commas between them"}
_KEPT = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "enum",
    "items",
    "format",
    "examples",
)


def form_fields(defaults: FlowConfig) -> dict[str, dict[str, Any]]:
    """Return the arguments of an Airflow `Param` for each field: default, and a flat JSON schema with its section.

    Airflow's form needs `type: [x, "null"]` where pydantic writes `anyOf`, and does not support `$ref`. It silently
    moves a number to the nearest bound, so the descriptions state the bounds.
    """
    values = defaults.model_dump(mode="json")
    fields = {}
    for name, schema in type(defaults).model_json_schema()["properties"].items():
        options = schema_options(schema)
        types = [option["type"] for option in options]
        # For a field that may be empty, pydantic puts examples next to `anyOf` and bounds inside it.
        flat: dict[str, Any] = {k: v for level in (schema, *options) for k, v in level.items() if k in _KEPT}
        if "enum" in flat and "null" in types:
            flat["enum"] = [*flat["enum"], None]
        shown_type = types if len(types) > 1 else types[0]
        fields[name] = {
            "default": values[name],
            "type": shown_type,
            "title": schema["title"],
            "description": f"{schema['description']}{_bounds({'type': shown_type, **flat})}",
            "section": schema["section"],
            **flat,
            **({"values_display": EMPTY_CHOICE} if None in flat.get("enum", ()) else {}),
            **({"pattern": schema["pattern"]} if "place" in schema else {}),
        }
    return fields


def with_options(
    kind: type[FlowConfig], leave_out: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each field of a flow's configuration, in panels by section.

    The command receives the given options as `values`, next to its own parameters. The options are untyped: the
    configuration validates them, so that an invalid value causes the same message everywhere.

    Args:
        kind: The flow's configuration.
        leave_out: Fields that have no meaning on a command line.
    """
    names = [name for name in kind.model_fields if name not in leave_out]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def wrapped(**arguments: Any) -> None:
            values = {name: arguments.pop(name) for name in names}
            command(**arguments, values={name: value for name, value in values.items() if value is not None})

        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "values"]
        options = [_option(kind, name) for name in names]
        wrapped.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
        wrapped.__doc__ = command.__doc__
        wrapped.__name__ = command.__name__
        return wrapped

    return decorate


def _option(kind: type[FlowConfig], name: str) -> inspect.Parameter:
    import typer  # imported late, because DAG files import this module for their forms

    field = kind.model_fields[name]
    schema = kind.model_json_schema()["properties"][name]
    flag = f"--{name.replace('_', '-')}"
    option = typer.Option(
        *([f"{flag}/--no-{flag[2:]}"] if _is_bool(field.annotation) else [flag]),
        help=schema["description"],
        rich_help_panel=schema["section"],
        metavar=_metavar(schema),
        autocompletion=_completion(_choices(schema)),
        show_default=False,
    )
    given = bool if _is_bool(field.annotation) else str
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[given | None, option]
    )


def _metavar(schema: dict[str, Any]) -> str:
    """Return what an option takes, for its help: its type and bounds."""
    if choices := _choices(schema):
        return "|".join([*choices[:2], "..."] if len(choices) > MANY_VALUES else choices)
    (option,) = (option for option in schema_options(schema) if option["type"] != "null")
    if "minimum" in option or "exclusiveMinimum" in option:
        return f"<{option['type']}, {_range(option)}>"
    kind = "path or URI" if "place" in schema else OPTION_TYPES.get(option.get("format", option["type"]), "text")
    return f"<{'name, path or URI' if schema.get('place') == NAME else kind}>"


def _choices(schema: dict[str, Any]) -> list[str]:
    return [str(value) for option in schema_options(schema) for value in option.get("enum", [])]


def _completion(choices: list[str]) -> Callable[[str], list[str]]:
    """Return the function that completes a value in a shell."""
    return lambda incomplete: [choice for choice in choices if choice.startswith(incomplete)]


def _is_bool(annotation: Any) -> bool:
    return annotation is bool


def markdown_table(defaults: FlowConfig) -> str:
    """Return a flow's parameters as a Markdown table, for the documentation; a test keeps the two equal."""
    lines = ["| parameter | default | allowed | what it does |", "|---|---|---|---|"]
    for name, field in form_fields(defaults).items():
        default = "" if field["default"] is None else f"`{json.dumps(field['default'])}`"
        text = field["description"].removesuffix(_bounds(field))
        lines.append(f"| `{name}` | {default} | {_allowed(field)} | {text} |")
    return "\n".join(lines)


def _bounds(field: dict[str, Any]) -> str:
    """Return the bounds of a number as a sentence, with a space before it; empty for other fields."""
    return f" Allowed: {_allowed(field)}." if {"minimum", "exclusiveMinimum"} & field.keys() else ""


def _allowed(field: dict[str, Any]) -> str:
    empty = ", or empty" if "null" in field["type"] else ""
    if "enum" in field:
        values = [f"`{value}`" for value in field["enum"] if value is not None]
        if len(values) > MANY_VALUES:
            return f"{', '.join(values[:3])}, … ({len(values)} in all, which the form lists)" + empty
        return ", ".join(values) + empty
    if field.get("minimum", field.get("exclusiveMinimum")) is None:
        return field["type"] if isinstance(field["type"], str) else field["type"][0] + empty
    return _range(field) + empty


def _range(field: dict[str, Any]) -> str:
    low = field.get("minimum", field.get("exclusiveMinimum"))
    above = "more than " if "exclusiveMinimum" in field else ""
    return f"{above}{low} to {field['maximum']}" if "maximum" in field else f"{low} or more"
